//! Which part of its groups or rows an answer holds, and where the neighbouring pages begin.

/// The part of all groups that an answer holds; of all rows, if the query has no groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageBounds {
    /// How many groups or rows earlier pages hold.
    pub skip: usize,
    /// The most groups or rows on a page; at least 1.
    pub size: usize,
    /// How many groups or rows there are on all pages, without the `(other)` row.
    pub total: usize,
}

impl PageBounds {
    /// Behind the last group or row of the page.
    pub(super) fn end(self) -> usize {
        self.skip.saturating_add(self.size).min(self.total)
    }

    /// Where the next page begins.
    pub(super) fn next(self) -> Option<usize> {
        (self.end() < self.total).then_some(self.end())
    }

    /// Where the previous page begins.
    pub(super) fn previous(self) -> Option<usize> {
        (self.skip > 0).then(|| self.skip.saturating_sub(self.size))
    }

    /// Where the last page begins; `None` if this is the last page.
    pub(super) fn last(self) -> Option<usize> {
        self.next().map(|_| (self.total - 1) / self.size * self.size)
    }
}
