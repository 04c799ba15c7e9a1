"""Where models lie on this machine: one file per store, which knows its layout. Nothing is copied, moved or written."""
