"""Other people's names for what anabranch does: their programs run as they are written."""
