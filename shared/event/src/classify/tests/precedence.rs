//! Answers in which two pieces of evidence disagree, and the one that must win. Each test is one kind of mistake that rules are prone to.

use super::*;
use BounceClass::{
    Authentication, Configuration, Connection, ContentRejected, Expired, InvalidDomain, InvalidRecipient,
    MailboxFull, MessageTooLarge, PolicyBlock, RateLimit, ReputationBlock, ServerError, SpamBlock,
};

fn check_all(cases: &[(&str, &str, BounceClass)]) {
    let wrong: Vec<_> = cases
        .iter()
        .map(|&(status, answer, expected)| (answer, delay("General", Some(status), Some(answer)), expected))
        .filter(|(_, class, expected)| class != expected)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn words_win_over_the_name_of_a_filter_or_provider() {
    check_all(&[
        (
            "5.0.0",
            "smtp; 550 DKIM Sender Invalid - envelope rejected - https://community.mimecast.com/docs/DOC-1369#550",
            Authentication,
        ),
        (
            "5.0.0",
            "smtp; 550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550",
            InvalidRecipient,
        ),
        (
            "4.0.0",
            "smtp; 452 Too many recipients - https://community.mimecast.com/docs/DOC-1369#452",
            RateLimit,
        ),
        (
            "5.0.0",
            "smtp; 554 Maximum email size exceeded - https://community.mimecast.com/docs/DOC-1369#554",
            MessageTooLarge,
        ),
        (
            "5.0.0",
            "smtp; 550 Mailbox not found. http://service.mail.qq.com/cgi-bin/help?subtype=1&&id=20022&&no=1000728",
            InvalidRecipient,
        ),
        (
            "5.0.0",
            "smtp; 550 SPF check failed. http://service.mail.qq.com/cgi-bin/help?id=20022",
            Authentication,
        ),
        ("5.0.0", "smtp; 550 Mailbox quota exceeded, see http://help.mail.ru/mail-help/faq", MailboxFull),
        (
            "5.0.0",
            "smtp; 550 DMARC policy violation. Please visit http://help.mail.ru/notspam-support/id?c=q",
            Authentication,
        ),
        ("5.7.1", "smtp; 550 5.7.1 LPN007_510 Message refused: DKIM verification failed", Authentication),
        (
            "5.1.1",
            "smtp; 550 5.1.1 LPN416 Adresse d au moins un destinataire invalide. Invalid recipient",
            InvalidRecipient,
        ),
        (
            "5.7.1",
            "smtp; 554 5.7.1 <lea@north.example>: Recipient address rejected: User unknown (filtered by spamhaus.example)",
            InvalidRecipient,
        ),
        ("5.0.0", "smtp; 550 User unknown, message scanned by the Barracuda spam firewall", InvalidRecipient),
    ]);
}

#[test]
fn fault_of_the_sender_is_not_counted_against_the_recipient() {
    check_all(&[
        (
            "5.1.8",
            "smtp; 553 5.1.8 <sam@sotuh.example>... Domain of sender address sam@sotuh.example does not exist",
            Authentication,
        ),
        (
            "4.1.8",
            "smtp; 450 4.1.8 <sam@sotuh.example>: Sender address rejected: Domain not found",
            Authentication,
        ),
        ("5.1.7", "smtp; 550 5.1.7 No such domain sotuh.example", Authentication),
        ("5.1.7", "", Authentication),
        ("5.0.0", "smtp; 550 Sender verify failed: no such user", Authentication),
        ("5.0.0", "smtp; 553 Sender domain cannot be resolved", Authentication),
        ("5.7.1", "smtp; 554 5.7.1 <sam@south.example>: Sender address rejected: Access denied", PolicyBlock),
        ("5.1.0", "smtp; 550 5.1.0 Sender denied", PolicyBlock),
        ("5.0.0", "smtp; 553 MAIL FROM domain must exist", Authentication),
        ("5.0.0", "smtp; 550 The domain of your sender address has no mail exchanger (MX)", Authentication),
        ("5.7.1", "smtp; 550 5.7.1 Helo command rejected: Host not found", PolicyBlock),
        // The recipient's domain, although the word "sender" stands near it.
        (
            "5.1.2",
            "smtp; 550 5.1.2 <lea@nroth.example>: Recipient address rejected: Domain not found, returned to sender",
            InvalidDomain,
        ),
    ]);
}

#[test]
fn words_win_over_a_bare_reply_code() {
    check_all(&[
        ("5.0.0", "smtp; 550 Access denied", PolicyBlock),
        ("5.0.0", "smtp; 550 Your message was rejected, it looks like spam", SpamBlock),
        ("5.0.0", "smtp; 550 203.0.113.40 is listed in bl.north-list.example", ReputationBlock),
        ("5.0.0", "smtp; 551 we do not relay", Configuration),
        ("5.0.0", "smtp; 553 Temporary problem, try again later", ServerError),
        ("5.0.0", "smtp; 553 Host does not accept mail from dynamic IPs", ReputationBlock),
        ("5.0.0", "smtp; 552 Mailbox not found", InvalidRecipient),
        ("5.0.0", "smtp; 552 Message rejected, attachment type not allowed", ContentRejected),
        ("4.0.0", "smtp; 451 Mailbox is full", MailboxFull),
        // With no word that says more, the code decides as before.
        ("5.0.0", "smtp; 550 sorry", InvalidRecipient),
    ]);
}

#[test]
fn words_win_over_a_security_code() {
    check_all(&[
        ("5.7.1", "smtp; 550 5.7.1 User unknown", InvalidRecipient),
        (
            "5.7.1",
            "smtp; 540 5.7.1 <lea@north.example>: recipient address rejected: Inactive",
            InvalidRecipient,
        ),
        ("5.7.1", "smtp; 550 5.7.1 Recipient mailbox is full", MailboxFull),
        ("5.7.1", "smtp; 550 5.7.1 No PTR record found", Authentication),
        ("5.7.1", "smtp; 553 5.7.1 sorry, that domain isn't in my list of allowed rcpthosts", Configuration),
        ("4.7.0", "smtp; 451 4.7.0 Temporary server error. Please try again later. PRX4", ServerError),
        (
            "4.7.1",
            "smtp; 450 4.7.1 <lea@north.example>: Recipient address rejected: user unknown",
            InvalidRecipient,
        ),
        ("5.7.1", "smtp; 554 5.7.1 message size exceeds limit", MessageTooLarge),
        ("5.7.7", "smtp; 554 5.7.7 invalid header", ContentRejected),
        ("5.7.13", "", InvalidRecipient),
        ("5.7.18", "", InvalidDomain),
    ]);
}

#[test]
fn broad_words_do_not_decide_alone() {
    check_all(&[
        // The help texts of Gmail speak of spam whatever is wrong.
        (
            "5.7.26",
            "smtp; 550-5.7.26 The MAIL FROM domain [south.example] has an SPF record with a hard fail policy but it fails to pass SPF checks. To best protect our users from spam and phishing, the message has been blocked.",
            Authentication,
        ),
        (
            "5.7.1",
            "smtp; 550-5.7.1 Messages with multiple addresses in From: header are not accepted. To reduce the amount of spam sent to Gmail, this message has been blocked.",
            ContentRejected,
        ),
        (
            "5.7.28",
            "smtp; 550 5.7.28 There is an unusual rate of unsolicited mail. To protect our users from spam, mail has been blocked.",
            RateLimit,
        ),
        ("4.7.3", "smtp; 450 4.7.3 Organization queue quota exceeded", RateLimit),
        ("5.7.1", "smtp; 550 5.7.1 this system is not configured to relay mail", Configuration),
        (
            "5.0.0",
            "smtp; 550 No mail enabled subscriptions: this domain is not configured to receive",
            InvalidDomain,
        ),
        ("4.0.0", "smtp; 421 Message deferred due to excessive volume", RateLimit),
        // Names of hosts and addresses are not words of the server.
        (
            "5.1.1",
            "smtp; host spam.policy.north.example said: 550 <virus@north.example> no such user",
            InvalidRecipient,
        ),
        ("5.0.0", "smtp; 550 <quota.exceeded@north.example>: user unknown", InvalidRecipient),
    ]);
}

#[test]
fn specific_status_codes_have_their_own_meaning() {
    check_all(&[
        ("5.7.504", "smtp; 550 5.7.504 Recipient address rejected: Access denied", InvalidRecipient),
        ("5.7.505", "smtp; 550 5.7.505 Access denied, banned recipient", InvalidRecipient),
        (
            "5.7.508",
            "smtp; 550 5.7.508 Access denied, [203.0.113.40] has exceeded permitted limits",
            RateLimit,
        ),
        ("5.7.511", "smtp; 550 5.7.511 Access denied, banned sender[203.0.113.40]", ReputationBlock),
        ("5.7.507", "smtp; 550 5.7.507 Access denied, rejected by recipient", PolicyBlock),
        (
            "4.1.1",
            "smtp; 450 4.1.1 <lea@north.example>: Recipient address rejected: unverified address: lost connection with mx.north.example",
            Connection,
        ),
        ("4.2.1", "smtp; 450 4.2.1 The mailbox is disabled, not accepting messages", InvalidRecipient),
        ("4.2.1", "", InvalidRecipient),
        ("4.2.1", "smtp; 450-4.2.1 The user is receiving mail too quickly. - gsmtp", RateLimit),
        (
            "4.7.0",
            "smtp; 421 4.7.0 IP not in whitelist for RCPT domain, closing connection. - gsmtp",
            ReputationBlock,
        ),
        (
            "4.7.0",
            "smtp; 421 4.7.0 The IP address sending this message does not have a PTR record",
            Authentication,
        ),
        ("4.7.0", "smtp; 421 4.7.0 Temporary System Problem. Try again later. - gsmtp", ServerError),
        ("4.7.32", "", Authentication),
        // A gateway wraps the answer of the server behind it in a code that says nothing.
        (
            "5.1.0",
            "smtp; 550 5.1.0 - Unknown address error '5.2.2 <lea@north.example>... over limit' (delivery attempts: 0)",
            MailboxFull,
        ),
    ]);
}

#[test]
fn mailbox_that_yahoo_does_not_find_is_a_bad_one() {
    check_all(&[
        ("5.0.0", "smtp; 552 1 Requested mail action aborted, mailbox not found", InvalidRecipient),
        ("5.0.0", "smtp; 552 1 Requested mail action aborted: exceeded storage allocation", MailboxFull),
    ]);
}

#[test]
fn all_forms_of_a_phrase_are_found() {
    check_all(&[
        ("5.0.0", "smtp; 550 user is overquota", MailboxFull),
        ("5.0.0", "smtp; 550 mailbox over-quota", MailboxFull),
        ("5.0.0", "smtp; 552 the inbox is out 552-5.2.2 of storage", MailboxFull),
        ("5.0.0", "smtp; 550 No relaying allowed", Configuration),
        ("5.0.0", "smtp; 553 Relaying disallowed", Configuration),
        ("5.0.0", "smtp; 554 loop detected", Configuration),
        ("5.0.0", "smtp; 550 Host unknown", InvalidDomain),
        ("5.0.0", "smtp; retry timeout exceeded", Expired),
        ("4.0.0", "smtp; 421 host not reachable", Connection),
        ("5.0.0", "smtp; 550 User lea@north.example unknown", InvalidRecipient),
        (
            "5.0.0",
            "smtp; 550 lea@north.example: this user doesn\u{2019}t have an account here",
            InvalidRecipient,
        ),
        ("5.0.0", "smtp; 554 client [203.0.113.40] blocked using bl.north-list.example", ReputationBlock),
        ("4.0.0", "smtp; 450 grey-listed, come back in 60 seconds", RateLimit),
        ("5.0.0", "smtp; 550 E-mail from servers with no reverse DNS is refused", Authentication),
        ("5.0.0", "smtp; 571 Sender IP must have a valid PTR-record", Authentication),
    ]);
}
