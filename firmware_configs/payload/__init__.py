"""The payload of a kit: all that is installed on a device without a network, gathered once where there is one, and proved there."""
