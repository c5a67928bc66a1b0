"""Labelled single cells: counts found or refused, labels to classes, quality, whole donors held out."""
