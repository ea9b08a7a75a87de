//! The `mail` object: the message that an event is about, the same in every event type.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{MAX_RECIPIENTS, OptionalText, RequiredText, read_known_fields};
use crate::json::{KnownKey, ScanError, Scanner};
use crate::tags::Tags;

/// `mail`: the message that an event is about.
#[derive(Debug, Default)]
pub(in crate::normalise) struct SesMail<'a> {
    pub(in crate::normalise) timestamp: RequiredText<'a>,
    pub(in crate::normalise) message_id: RequiredText<'a>,
    pub(in crate::normalise) source: OptionalText<'a>,
    pub(in crate::normalise) source_arn: OptionalText<'a>,
    pub(in crate::normalise) sending_account: OptionalText<'a>,
    /// The envelope recipients, at most one more than [`MAX_RECIPIENTS`].
    pub(in crate::normalise) destinations: SmallVec<[Cow<'a, str>; 1]>,
    /// The number of envelope recipients, also of those that `destinations` leaves out.
    pub(in crate::normalise) destination_count: u32,
    pub(in crate::normalise) tags: Tags<'a>,
}

#[derive(Clone, Copy)]
enum MailField {
    Timestamp,
    Source,
    SourceArn,
    SendingAccount,
    MessageId,
    Destination,
    Headers,
    Tags,
    NotUsed,
}

impl MailField {
    /// In the order in which event publishing writes them; see [`Scanner::object_with_known_keys`].
    const KEYS: [KnownKey<Self>; 10] = [
        KnownKey::new("\"timestamp\":", Self::Timestamp),
        KnownKey::new("\"source\":", Self::Source),
        KnownKey::new("\"sourceArn\":", Self::SourceArn),
        KnownKey::new("\"sendingAccountId\":", Self::SendingAccount),
        KnownKey::new("\"messageId\":", Self::MessageId),
        KnownKey::new("\"destination\":", Self::Destination),
        KnownKey::new("\"headersTruncated\":", Self::NotUsed),
        KnownKey::new("\"headers\":", Self::Headers),
        KnownKey::new("\"commonHeaders\":", Self::NotUsed),
        KnownKey::new("\"tags\":", Self::Tags),
    ];
}

impl<'a> SesMail<'a> {
    pub(super) fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), ScanError> {
        read_known_fields(scanner, &MailField::KEYS, |scanner, field| {
            match field {
                Some(MailField::Timestamp) => self.timestamp = RequiredText::read(scanner)?,
                Some(MailField::Source) => self.source = scanner.optional_string()?,
                Some(MailField::SourceArn) => self.source_arn = scanner.optional_string()?,
                Some(MailField::SendingAccount) => self.sending_account = scanner.optional_string()?,
                Some(MailField::MessageId) => self.message_id = RequiredText::read(scanner)?,
                Some(MailField::Destination) => self.read_destinations(scanner)?,
                // Headers hold subjects and addresses: they are checked as JSON and never read.
                Some(MailField::Headers) => scanner.skip_headers()?,
                Some(MailField::Tags) => self.tags = Tags::new(scanner.raw_tags()?),
                Some(MailField::NotUsed) | None => scanner.skip()?,
            }
            Ok(())
        })
    }

    fn read_destinations(&mut self, scanner: &mut Scanner<'a>) -> Result<(), ScanError> {
        // The last one counts if the field comes twice.
        self.destinations.clear();
        self.destination_count = 0;
        scanner.array_or_single(|scanner| {
            // An item that is not a string is not a recipient.
            if let Some(address) = scanner.optional_string()? {
                // The count goes on beyond what is kept, so that an open is never attributed to the kept recipients alone.
                self.destination_count = self.destination_count.saturating_add(1);
                if self.destinations.len() <= MAX_RECIPIENTS {
                    self.destinations.push(address);
                }
            }
            Ok(())
        })
    }
}
