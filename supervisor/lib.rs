//! Supervised, event-sourced actors: the contracts of the domain and the runtime beneath.
