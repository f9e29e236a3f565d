"""Figures: how they are taken, compared, written as a table and drawn."""
