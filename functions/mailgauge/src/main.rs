//! `mailgauge`, as a program.

use std::process::ExitCode;

fn main() -> ExitCode {
    mailgauge::main()
}
