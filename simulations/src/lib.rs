//! The same actors on a virtual clock, with faults, from a seed.
