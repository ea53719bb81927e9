//! Whole programs, real containers, several hosts.
