"""Drawing on pictures: colors, overlays and text. Arrays in, arrays out."""
