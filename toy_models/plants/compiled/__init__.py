"""Circuits set by hand, every weight of them, in models that were trained around the room they take."""
