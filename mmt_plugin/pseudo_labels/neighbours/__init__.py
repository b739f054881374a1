"""Every image's nearest images."""
