"""What a classroom kit boots with, laid out as it lands on the device; nothing is laid out yet."""
