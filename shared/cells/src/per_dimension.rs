//! Looks up the value of a dimension in an array that has one for each, so that it cannot fail.

use event::attribution::Dimension;

const _: () = {
    let mut number = 0;
    while number < Dimension::COUNT {
        assert!(
            Dimension::ALL[number] as usize == number,
            "dimensions are numbered in the order of their list"
        );
        number += 1;
    }
};

/// The value of one dimension, of values in the order of [`Dimension::ALL`].
pub(crate) const fn of_dimension<T: Copy>(values: &[T; Dimension::COUNT], dimension: Dimension) -> T {
    // The number of every dimension is below their count: checked above, when this is compiled.
    values[dimension as usize]
}
