//! What every [`crate::ports::Store`] must do.
