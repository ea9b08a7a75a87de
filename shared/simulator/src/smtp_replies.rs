//! Refusals of mail servers as SES reports them: realistic bounce types, status codes and diagnostic texts.
//!
//! The texts are written into JSON without escaping, so they contain no quotes, backslashes or control characters. IP addresses are from
//! the blocks reserved for documentation.

/// The refusal of a mail server, as SES reports it in a bounce or delay.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SmtpReply {
    /// SES's bounce type; unused for a temporary failure.
    pub(crate) bounce_type: &'static str,
    /// SES's bounce sub-type or delay type.
    pub(crate) sub_type: &'static str,
    pub(crate) status: &'static str,
    pub(crate) diagnostic: &'static str,
}

/// The replies of one kind of mail server.
#[derive(Debug)]
pub(crate) struct SmtpReplies {
    /// The mailbox does not exist.
    pub(crate) unknown_recipient: &'static [SmtpReply],
    /// Temporary failures, after which the mail is delivered or expires.
    pub(crate) deferred: &'static [SmtpReply],
    /// SES gave up after retries.
    pub(crate) expired: &'static [SmtpReply],
    /// Refusals because of the sender's reputation.
    pub(crate) blocked: &'static [SmtpReply],
}

const fn permanent(sub_type: &'static str, status: &'static str, diagnostic: &'static str) -> SmtpReply {
    SmtpReply { bounce_type: "Permanent", sub_type, status, diagnostic }
}

const fn transient(sub_type: &'static str, status: &'static str, diagnostic: &'static str) -> SmtpReply {
    SmtpReply { bounce_type: "Transient", sub_type, status, diagnostic }
}

/// The text with which SES gives up.
const EXPIRED: SmtpReply = transient(
    "General",
    "4.4.7",
    "smtp; 550 4.4.7 Message expired: unable to deliver in 840 minutes.<421 4.4.0 Unable to lookup DNS>",
);

/// A bounce without any information.
pub(crate) const UNDETERMINED: SmtpReply =
    SmtpReply { bounce_type: "Undetermined", sub_type: "Undetermined", status: "", diagnostic: "" };

/// Recipients on a suppression list, to whom SES does not attempt delivery.
pub(crate) const SUPPRESSED: [SmtpReply; 2] = [
    permanent(
        "OnAccountSuppressionList",
        "5.1.1",
        "Amazon SES did not send the message to this address because it is on the suppression list for your account. For more information about removing addresses from the suppression list, see the Amazon SES Developer Guide.",
    ),
    permanent(
        "Suppressed",
        "5.1.1",
        "Amazon SES has suppressed sending to this address because it has a recent history of bouncing as an invalid address.",
    ),
];

pub(crate) const GMAIL: SmtpReplies = SmtpReplies {
    unknown_recipient: &[
        permanent(
            "NoEmail",
            "5.1.1",
            "smtp; 550-5.1.1 The email account that you tried to reach does not exist. Please try 550-5.1.1 double-checking the recipient's email address for typos or 550-5.1.1 unnecessary spaces. For more information, go to 550 5.1.1 https://support.google.com/mail/?p=NoSuchUser d2e1a72fcca58-7c gsmtp",
        ),
        permanent(
            "General",
            "5.2.1",
            "smtp; 550-5.2.1 The email account that you tried to reach is inactive. For more information, go to 550 5.2.1 https://support.google.com/mail/?p=DisabledUser d2e1a72fcca58-7c gsmtp",
        ),
    ],
    deferred: &[
        transient(
            "General",
            "4.2.1",
            "smtp; 450-4.2.1 The user you are trying to contact is receiving mail too quickly. Please resend your message at a later time. gsmtp",
        ),
        transient(
            "IPFailure",
            "4.7.28",
            "smtp; 421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your SPF domain. To protect our users from spam, mail has been temporarily rate limited. gsmtp",
        ),
    ],
    expired: &[
        transient(
            "MailboxFull",
            "5.2.2",
            "smtp; 552-5.2.2 The recipient's inbox is out of storage space. Please direct the recipient to 552 5.2.2 https://support.google.com/mail/?p=OverQuotaPerm d2e1a72fcca58-7c gsmtp",
        ),
        EXPIRED,
    ],
    blocked: &[
        transient(
            "General",
            "5.7.1",
            "smtp; 550-5.7.1 [198.51.100.24 12] Gmail has detected that this message is likely unsolicited mail. To reduce the amount of spam sent to Gmail, this message has been blocked. For more information, go to 550 5.7.1 https://support.google.com/mail/?p=UnsolicitedMessageError gsmtp",
        ),
        transient(
            "General",
            "5.7.1",
            "smtp; 550-5.7.1 [198.51.100.24 19] Gmail has detected that this message is likely suspicious due to the very low reputation of the sending domain. To best protect our users from spam, the message has been blocked. gsmtp",
        ),
    ],
};

/// Replies of Yahoo, which also runs the mail of other providers.
pub(crate) const YAHOO: SmtpReplies = SmtpReplies {
    unknown_recipient: &[
        permanent(
            "NoEmail",
            "5.0.0",
            "smtp; 554 delivery error: dd This user doesn't have a yahoo.com account [0] - mta4205.mail.bf1.yahoo.com",
        ),
        permanent(
            "General",
            "5.0.0",
            "smtp; 554 30 Sorry, your message cannot be delivered. This mailbox is disabled (554.30). - mta4205.mail.bf1.yahoo.com",
        ),
    ],
    deferred: &[transient(
        "General",
        "4.7.0",
        "smtp; 421 4.7.0 [TSS04] Messages from 198.51.100.24 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1; see https://postmaster.yahooinc.com/error-codes",
    )],
    expired: &[
        transient("MailboxFull", "5.2.2", "smtp; 552 1 Requested mail action aborted, mailbox full"),
        EXPIRED,
    ],
    blocked: &[transient(
        "General",
        "5.7.9",
        "smtp; 554 5.7.9 Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes",
    )],
};

/// Outlook.com, Hotmail and other domains that Microsoft serves to consumers.
pub(crate) const MICROSOFT: SmtpReplies = SmtpReplies {
    unknown_recipient: &[
        permanent(
            "NoEmail",
            "5.5.0",
            "smtp; 550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302). [DB5EUR02FT012.eop-EUR02.prod.protection.outlook.com]",
        ),
        permanent(
            "General",
            "5.1.10",
            "smtp; 550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
        ),
    ],
    deferred: &[transient(
        "IPFailure",
        "4.7.650",
        "smtp; 451 4.7.650 The mail server [198.51.100.24] has been temporarily rate limited due to IP reputation. For e-mail delivery information, see https://postmaster.live.com (S775)",
    )],
    expired: &[
        transient(
            "MailboxFull",
            "5.2.2",
            "smtp; 554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException",
        ),
        EXPIRED,
    ],
    blocked: &[transient(
        "General",
        "5.7.1",
        "smtp; 550 5.7.1 Unfortunately, messages from [198.51.100.24] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3150). [Name=Protocol Filter UserAgent][AGT=PFA]",
    )],
};

pub(crate) const APPLE: SmtpReplies = SmtpReplies {
    unknown_recipient: &[permanent(
        "NoEmail",
        "5.1.1",
        "smtp; 550 5.1.1 unknown or illegal alias: user does not exist",
    )],
    deferred: &[transient("RecipientServerError", "4.3.2", "smtp; 451 4.3.2 Service unavailable, try later")],
    expired: &[transient("MailboxFull", "5.2.2", "smtp; 552 5.2.2 user over quota"), EXPIRED],
    blocked: &[transient(
        "General",
        "5.7.1",
        "smtp; 554 5.7.1 [HM08] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137",
    )],
};

/// Microsoft 365, for companies' own domains.
pub(crate) const HOSTED_BY_MICROSOFT: SmtpReplies = SmtpReplies {
    unknown_recipient: &[permanent(
        "NoEmail",
        "5.4.1",
        "smtp; 550 5.4.1 Recipient address rejected: Access denied. [AM6EUR05FT049.mail.protection.outlook.com]",
    )],
    deferred: &[transient(
        "General",
        "4.7.500",
        "smtp; 451 4.7.500 Server busy. Please try again later from [198.51.100.24]. (S77719) [AM6EUR05FT049.mail.protection.outlook.com]",
    )],
    expired: &[EXPIRED],
    blocked: &[transient(
        "General",
        "5.7.606",
        "smtp; 550 5.7.606 Access denied, banned sending IP [198.51.100.24]. To request removal from this list please visit https://sender.office.com/ [AM6EUR05FT049.mail.protection.outlook.com]",
    )],
};

/// Mimecast, before the servers of a company.
pub(crate) const MIMECAST: SmtpReplies = SmtpReplies {
    unknown_recipient: &[permanent(
        "NoEmail",
        "5.1.1",
        "smtp; 550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550 [Zk1uC0yRN5y8.uk12]",
    )],
    deferred: &[transient(
        "General",
        "4.7.0",
        "smtp; 451 Internal resources are temporarily unavailable - https://community.mimecast.com/docs/DOC-1369#451 [Zk1uC0yRN5y8.uk12]",
    )],
    expired: &[EXPIRED],
    blocked: &[transient(
        "General",
        "5.7.1",
        "smtp; 554 Email rejected due to security policies - https://community.mimecast.com/docs/DOC-1369#554 [Zk1uC0yRN5y8.uk12]",
    )],
};

/// Proofpoint, before the servers of a company.
pub(crate) const PROOFPOINT: SmtpReplies = SmtpReplies {
    unknown_recipient: &[permanent(
        "NoEmail",
        "5.1.1",
        "smtp; 550 5.1.1 User Unknown - mx0a-00112233.pphosted.com",
    )],
    deferred: &[transient(
        "General",
        "4.7.0",
        "smtp; 452 4.7.0 Too many messages, slow down - mx0a-00112233.pphosted.com",
    )],
    expired: &[EXPIRED],
    blocked: &[transient(
        "General",
        "5.7.0",
        "smtp; 554 5.7.0 Blocked - see https://ipcheck.proofpoint.com/?ip=198.51.100.24",
    )],
};

/// Replies of all other servers.
pub(crate) const OTHERS: SmtpReplies = SmtpReplies {
    unknown_recipient: &[
        permanent(
            "NoEmail",
            "5.1.1",
            "smtp; 550 5.1.1 Recipient address rejected: User unknown in virtual mailbox table",
        ),
        permanent("General", "5.1.1", "smtp; 550 No such user here"),
        permanent(
            "General",
            "5.4.1",
            "smtp; 550 5.4.1 Recipient address rejected: Access denied. [AM6EUR05FT049.eop-eur05.prod.protection.outlook.com]",
        ),
        permanent("General", "5.4.4", "smtp; 550 5.4.4 Host or domain name not found"),
    ],
    deferred: &[
        transient(
            "General",
            "4.2.0",
            "smtp; 450 4.2.0 Recipient address rejected: Greylisted, please try again in 300 seconds",
        ),
        transient("TransientCommunicationFailure", "4.4.1", "smtp; 421 4.4.1 Connection timed out"),
        transient(
            "RecipientServerError",
            "4.3.0",
            "smtp; 451 4.3.0 Temporary server error. Please try again later PRX2",
        ),
    ],
    expired: &[transient("MailboxFull", "4.2.2", "smtp; 452 4.2.2 Mailbox full"), EXPIRED],
    blocked: &[transient(
        "General",
        "5.7.1",
        "smtp; 554 5.7.1 Service unavailable; Client host [198.51.100.24] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/198.51.100.24",
    )],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reply_can_be_written_into_json_unescaped() {
        let mut replies: Vec<&SmtpReply> = SUPPRESSED.iter().collect();
        for server in
            [&GMAIL, &YAHOO, &MICROSOFT, &APPLE, &HOSTED_BY_MICROSOFT, &MIMECAST, &PROOFPOINT, &OTHERS]
        {
            for group in [server.unknown_recipient, server.deferred, server.expired, server.blocked] {
                assert!(!group.is_empty());
                replies.extend(group);
            }
        }
        for reply in replies {
            assert!(
                reply.diagnostic.bytes().all(|b| (b' '..0x7f).contains(&b) && b != b'"' && b != b'\\'),
                "{reply:?}"
            );
        }
    }
}
