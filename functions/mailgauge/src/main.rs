//! `mailgauge`: every step in one process, and the command line.

fn main() {}
