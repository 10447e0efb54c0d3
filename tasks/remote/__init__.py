"""Data that is elsewhere: what can be asked for, what there is of it upstream, and one file brought here whole."""
