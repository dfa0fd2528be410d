//! Typed settings, each value knowing where it came from.
