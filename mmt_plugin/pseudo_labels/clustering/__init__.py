"""From graph or features to one label an image."""
