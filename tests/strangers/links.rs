//! Links that prove who is who.
