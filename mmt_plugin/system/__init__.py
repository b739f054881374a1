"""What the plugin asks of the machine: files, devices, memory, image files. Needs no fastreid."""
