//! What must hold of the whole: the program's commands, counting under kill and redelivery, the dashboard in a browser,
//! and the house rules of the source itself. One binary, so that it links once.

mod counted_once;
mod dashboard;
mod support;
mod tidy;
