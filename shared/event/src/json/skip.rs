//! Skips JSON values: most of an event is never used.
//!
//! A skipped value is checked as strictly as if it were used, so that malformed input is detected whichever fields are used.
//! Containers are tracked in one word instead of by recursion, because hostile input may nest as deep as it likes.

use super::{MAX_DEPTH, ScanError, Scanner};

impl Scanner<'_> {
    /// Reads any value and drops it.
    pub(crate) fn skip(&mut self) -> Result<(), ScanError> {
        // At most 64: one bit of `objects` per level.
        let room = MAX_DEPTH - self.depth;
        // One bit per open container, the innermost lowest: 1 for an object, 0 for an array.
        let mut objects = 0_u64;
        let mut open = 0;
        loop {
            match self.peek().ok_or(ScanError::UnexpectedEnd)? {
                b'"' => {
                    self.at += 1;
                    self.string_end()?;
                }
                opener @ (b'{' | b'[') => {
                    if open == room {
                        return Err(ScanError::TooDeep);
                    }
                    self.at += 1;
                    let is_object = opener == b'{';
                    // In ASCII the closing bracket is two after the opening one, for both kinds.
                    if !self.take_byte(opener + 2) {
                        objects = objects << 1 | u64::from(is_object);
                        open += 1;
                        if is_object {
                            self.skip_key()?;
                        }
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            // A value has ended. Close every container that ends with it, up to the next value.
            loop {
                if open == 0 {
                    return Ok(());
                }
                let is_object = objects & 1 == 1;
                match self.peek().ok_or(ScanError::UnexpectedEnd)? {
                    b',' => {
                        self.at += 1;
                        if is_object {
                            self.skip_key()?;
                        }
                        break;
                    }
                    b'}' if is_object => self.at += 1,
                    b']' if !is_object => self.at += 1,
                    _ => return Err(ScanError::Syntax),
                }
                objects >>= 1;
                open -= 1;
            }
        }
    }

    /// Reads a number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Result<(), ScanError> {
        match self.peek().ok_or(ScanError::UnexpectedEnd)? {
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(ScanError::Syntax),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), ScanError> {
        for &byte in word {
            self.byte_if(|found| found == byte)?;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), ScanError> {
        // The grammar of RFC 8259, section 6, without computing the value.
        self.optional(|byte| byte == b'-');
        if !self.optional(|byte| byte == b'0') {
            self.digits()?;
        }
        if self.optional(|byte| byte == b'.') {
            self.digits()?;
        }
        if self.optional(|byte| matches!(byte, b'e' | b'E')) {
            self.optional(|byte| matches!(byte, b'+' | b'-'));
            self.digits()?;
        }
        // JSON has no leading zeros: after a first 0 there can be no further digit.
        if self.text.as_bytes().get(self.at).is_some_and(u8::is_ascii_digit) {
            return Err(ScanError::Syntax);
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        self.byte_if(|byte| byte.is_ascii_digit())?;
        while self.optional(|byte| byte.is_ascii_digit()) {}
        Ok(())
    }

    fn byte_if(&mut self, is_wanted: impl Fn(u8) -> bool) -> Result<(), ScanError> {
        match self.text.as_bytes().get(self.at) {
            Some(&byte) if is_wanted(byte) => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(ScanError::Syntax),
            None => Err(ScanError::UnexpectedEnd),
        }
    }

    fn optional(&mut self, is_wanted: impl Fn(u8) -> bool) -> bool {
        self.byte_if(is_wanted).is_ok()
    }
}
