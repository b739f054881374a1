"""From a tracker's output and its video to crops that adaptation can be run on."""
