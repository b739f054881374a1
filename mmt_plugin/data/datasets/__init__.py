"""Data sets that fastreid lacks."""
