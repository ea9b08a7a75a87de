//! The program `mailgauge`. Everything is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    mailgauge::main()
}
