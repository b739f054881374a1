"""Label steps tried over a grid of settings, before anything is trained."""
