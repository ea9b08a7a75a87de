//! The dashboard's files.

use super::*;
