//! Answers of real mail servers as SES reports them (addresses and IPs replaced), and the classes they belong to.

use proptest::prelude::*;

use super::*;
use crate::fragments::MAX_FRAGMENTS;

mod accuracy;
mod precedence;

fn check(diagnostic: &str, expected: BounceClass) {
    check_with("General", "5.0.0", diagnostic, expected);
}

fn check_with(sub_type: &str, status: &str, diagnostic: &str, expected: BounceClass) {
    let fields = BounceFields {
        bounce_type: "Transient",
        sub_type,
        status: Some(status),
        diagnostic: Some(diagnostic),
        has_reporting_mta: true,
    };
    assert_eq!(bounce(&fields).class, expected, "{sub_type} {status} {diagnostic}");
    assert_eq!(delay(sub_type, Some(status), Some(diagnostic)), expected, "{sub_type} {status} {diagnostic}");
}

#[test]
fn gmail_answers_are_classified() {
    check(
        "smtp; 550-5.1.1 The email account that you tried to reach does not exist. Please try 550-5.1.1 double-checking the recipient's email address for typos or 550-5.1.1 unnecessary spaces. For more information, go to 550 5.1.1 https://support.google.com/mail/?p=NoSuchUser d2e1a72fcca58-7 - gsmtp",
        BounceClass::InvalidRecipient,
    );
    check(
        "smtp; 550-5.2.1 The email account that you tried to reach is inactive. 550 5.2.1 https://support.google.com/mail/?p=DisabledUser - gsmtp",
        BounceClass::InvalidRecipient,
    );
    check(
        "smtp; 550-5.7.1 [203.0.113.9 12] Our system has detected that this message is 550-5.7.1 likely unsolicited mail. To reduce the amount of spam sent to Gmail, 550-5.7.1 this message has been blocked. - gsmtp",
        BounceClass::SpamBlock,
    );
    check(
        "smtp; 550-5.7.1 [203.0.113.9 19] Our system has detected that this message is 550-5.7.1 likely suspicious due to the very low reputation of the sending domain.",
        BounceClass::ReputationBlock,
    );
    check(
        "smtp; 421-4.7.28 [203.0.113.9 15] Our system has detected an unusual rate of unsolicited mail originating from your IP address. To protect our 421-4.7.28 users from spam, mail sent from your IP address has been temporarily rate limited.",
        BounceClass::RateLimit,
    );
    check(
        "smtp; 550-5.7.26 This mail has been blocked because the sender is unauthenticated. 550-5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM.",
        BounceClass::Authentication,
    );
    check(
        "smtp; 550-5.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC policy.",
        BounceClass::Authentication,
    );
    check(
        "smtp; 552-5.2.2 The recipient's inbox is out of storage space. Please direct the recipient to https://support.google.com/mail/?p=OverQuotaPerm",
        BounceClass::MailboxFull,
    );
    check(
        "smtp; 452-4.2.2 The email account that you tried to reach is over quota.",
        BounceClass::MailboxFull,
    );
    check(
        "smtp; 450-4.2.1 The user you are trying to contact is receiving mail too quickly.",
        BounceClass::RateLimit,
    );
    check(
        "smtp; 550-5.7.25 [203.0.113.9] The IP address sending this message does not have a 550-5.7.25 PTR record setup, or the corresponding forward DNS entry does not 550-5.7.25 match the sending IP.",
        BounceClass::Authentication,
    );
    check(
        "smtp; 552-5.7.0 This message was blocked because its content presents a potential security issue. - gsmtp",
        BounceClass::ContentRejected,
    );
}

#[test]
fn microsoft_answers_are_classified() {
    check(
        "smtp; 550 5.7.1 Unfortunately, messages from [203.0.113.9] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3150). [Name=Protocol Filter Agent][AGT=PFA]",
        BounceClass::ReputationBlock,
    );
    check(
        "smtp; 550 5.7.1 Unfortunately, messages from [203.0.113.9] weren't sent. (S3140).",
        BounceClass::ReputationBlock,
    );
    check(
        "smtp; 451 4.7.650 The mail server [203.0.113.9] has been temporarily rate limited due to IP reputation. For e-mail delivery information, see https://postmaster.live.com (S775)",
        BounceClass::RateLimit,
    );
    check(
        "smtp; 451 4.7.500 Server busy. Please try again later from [203.0.113.9]. (S77714)",
        BounceClass::RateLimit,
    );
    check(
        "smtp; 550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
        BounceClass::InvalidRecipient,
    );
    check("smtp; 550 5.1.1 RESOLVER.ADR.RecipNotFound; not found", BounceClass::InvalidRecipient);
    check(
        "smtp; 550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).",
        BounceClass::InvalidRecipient,
    );
    check(
        "smtp; 550 5.4.1 Recipient address rejected: Access denied. [AM6EUR05FT049.eop-eur05.prod.protection.outlook.com]",
        BounceClass::InvalidRecipient,
    );
    check(
        "smtp; 550 5.7.606 Access denied, banned sending IP [203.0.113.9]. To request removal from this list please visit https://sender.office.com/",
        BounceClass::ReputationBlock,
    );
    check(
        "smtp; 550 5.7.515 Access denied, sending domain example.com does not meet the required authentication level.",
        BounceClass::Authentication,
    );
    check(
        "smtp; 550 5.7.509 Access denied, sending domain example.com does not pass DMARC verification and has a DMARC policy of reject.",
        BounceClass::Authentication,
    );
    check(
        "smtp; 554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded",
        BounceClass::MailboxFull,
    );
    check(
        "smtp; 550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required",
        BounceClass::PolicyBlock,
    );
    check("smtp; 550 5.7.64 TenantAttribution; Relay Access Denied", BounceClass::Configuration);
    check("smtp; 554 5.4.14 Hop count exceeded - possible mail loop ATTR34", BounceClass::Configuration);
    check(
        "smtp; 550 SC-001 (BAY004-MC1F12) Unfortunately, messages from 203.0.113.9 weren't sent.",
        BounceClass::ReputationBlock,
    );
    check(
        "smtp; 550 5.7.501 Service unavailable. Spam abuse detected from IP range.",
        BounceClass::SpamBlock,
    );
}

#[test]
fn yahoo_and_apple_answers_are_classified() {
    check(
        "smtp; 421 4.7.0 [TSS04] Messages from 203.0.113.9 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1; see https://postmaster.yahooinc.com/error-codes",
        BounceClass::RateLimit,
    );
    check(
        "smtp; 553 5.7.1 [BL21] Connections will not be accepted from 203.0.113.9, because the ip is in Spamhaus's list",
        BounceClass::ReputationBlock,
    );
    check(
        "smtp; 421 4.7.1 [TS03] All messages from 203.0.113.9 will be permanently deferred",
        BounceClass::ReputationBlock,
    );
    check(
        "smtp; 554 5.7.9 Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes",
        BounceClass::SpamBlock,
    );
    check(
        "smtp; 554 delivery error: dd This user doesn't have a yahoo.com account (jane@yahoo.com) [0] - mta4205.mail.bf1.yahoo.com",
        BounceClass::InvalidRecipient,
    );
    check("smtp; 552 1 Requested mail action aborted, mailbox not found", BounceClass::InvalidRecipient);
    check(
        "smtp; 554 30 Sorry, your message to jane@yahoo.com cannot be delivered. This mailbox is disabled (554.30).",
        BounceClass::InvalidRecipient,
    );
    check("smtp; 552 5.2.2 <jane@icloud.com>: user over quota", BounceClass::MailboxFull);
    check(
        "smtp; 554 5.7.1 [CS01] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137",
        BounceClass::SpamBlock,
    );
    check("smtp; 554 5.7.1 [HM08] Message rejected due to local policy.", BounceClass::ReputationBlock);
    check("smtp; 550 5.1.1 <jane@icloud.com>: user does not exist", BounceClass::InvalidRecipient);
}

#[test]
fn answers_of_filters_and_block_lists_are_classified() {
    check(
        "smtp; 550 5.7.1 Service unavailable, Client host [203.0.113.9] blocked using Spamhaus. To request removal from this list see https://www.spamhaus.org/query/ip/203.0.113.9",
        BounceClass::ReputationBlock,
    );
    check(
        "smtp; 554 5.7.1 Service unavailable; Client host [203.0.113.9] blocked using bl.spamcop.net; Blocked - see https://www.spamcop.net/bl.shtml?203.0.113.9",
        BounceClass::ReputationBlock,
    );
    check(
        "smtp; 550 5.7.0 Blocked - see https://support.proofpoint.com/dnsbl-lookup.cgi?ip=203.0.113.9",
        BounceClass::ReputationBlock,
    );
    check(
        "smtp; 554 Blocked - see https://ipcheck.proofpoint.com/?ip=203.0.113.9",
        BounceClass::ReputationBlock,
    );
    check(
        "smtp; 550 Rejected by header based Anti-Spoofing policy: sales@example.com - https://community.mimecast.com/docs/DOC-1369#550",
        BounceClass::PolicyBlock,
    );
    check(
        "smtp; 451 Internal resources are temporarily unavailable - https://community.mimecast.com/docs/DOC-1369#451",
        BounceClass::RateLimit,
    );
    check(
        "smtp; 550 5.7.1 Blocked by CSI, see https://csi.cloudmark.com/en/reset/?ip=203.0.113.9",
        BounceClass::ReputationBlock,
    );
    check("smtp; 554 mail server permanently rejected message (#5.3.0), Cloudmark", BounceClass::SpamBlock);
    check(
        "smtp; 554-gw1.example.com 554 Your access to this mail system has been rejected due to the sending MTA's poor reputation.",
        BounceClass::ReputationBlock,
    );
    check("smtp; 554 rejected due to spam content", BounceClass::SpamBlock);
    check(
        "smtp; 553 Message filtered. Refer to the Troubleshooting page at http://www.symanteccloud.com/troubleshooting for more information. (#5.7.1)",
        BounceClass::SpamBlock,
    );
}

#[test]
fn access_provider_answers_are_classified() {
    check(
        "smtp; 554 resimta-c1p-022592.sys.comcast.net 203.0.113.9 Comcast block for spam. Please see http://postmaster.comcast.net/smtp-error-codes.php#BL000001",
        BounceClass::ReputationBlock,
    );
    check(
        "smtp; 421 4.1.0 203.0.113.9 Throttled - try again later. Please see https://postmaster.comcast.net/smtp-error-codes.php#RL000001",
        BounceClass::RateLimit,
    );
    check(
        "smtp; 554-Transaction failed 554-Reject due to policy restrictions. 554 For explanation visit https://postmaster.gmx.net/en/error-messages?ip=203.0.113.9&c=hi",
        BounceClass::ReputationBlock,
    );
    check(
        "smtp; 450 Requested mail action not taken: mailbox unavailable 450 Mailbox exceeds limitations on received mails.",
        BounceClass::RateLimit,
    );
    check(
        "smtp; 421 smtp.orange.fr [203.0.113.9] Service refuse. Veuillez essayer plus tard. Service refused, please try later. OFR_506 [506]",
        BounceClass::ReputationBlock,
    );
    check("smtp; 421 opme11lhd05 Too many connections, slow down. OFR004_104 [104]", BounceClass::RateLimit);
    check(
        "smtp; 554 IP=203.0.113.9 - A problem occurred. Ask your postmaster for help or to contact tosa@rx.t-online.de to clarify.",
        BounceClass::ReputationBlock,
    );
    check(
        "smtp; 550 spam message discarded/rejected. Please visit http://help.mail.ru/notspam-support/id?c=abc",
        BounceClass::SpamBlock,
    );
    check(
        "smtp; 554 5.7.1 [1] Message rejected under suspicion of SPAM; https://ya.cc/1IrBc",
        BounceClass::SpamBlock,
    );
    check(
        "smtp; 550 Ip frequency limited. http://service.mail.qq.com/cgi-bin/help?subtype=1&id=20022&no=1000725",
        BounceClass::RateLimit,
    );
    check(
        "smtp; 554 DT:SPM 163 smtp1, please see http://mail.163.com/help/help_spam_16.htm?ip=203.0.113.9",
        BounceClass::SpamBlock,
    );
    check("smtp; 550 RP:QRC 163 mx1, please see http://mail.163.com/help", BounceClass::RateLimit);
    check("smtp; 554 ImsRcvB AUP#In-1310 CTOX: 203.0.113.9", BounceClass::ReputationBlock);
}

#[test]
fn common_answers_are_classified() {
    check(
        "smtp; 550 5.1.1 <jane@example.com>: Recipient address rejected: User unknown in virtual mailbox table",
        BounceClass::InvalidRecipient,
    );
    check("smtp; 550 No such user here", BounceClass::InvalidRecipient);
    check("smtp; 550 5.1.2 <jane@exmaple.com>: Domain does not exist", BounceClass::InvalidDomain);
    check("smtp; 550 5.4.4 Unable to lookup DNS for exmaple.com", BounceClass::InvalidDomain);
    check("smtp; 556 5.1.10 domain does not accept mail (nullMX)", BounceClass::InvalidDomain);
    check(
        "smtp; 450 4.2.0 <jane@example.com>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/",
        BounceClass::RateLimit,
    );
    check("smtp; 554 5.7.1 <jane@example.com>: Relay access denied", BounceClass::Configuration);
    check("smtp; 452 4.2.2 Mailbox full", BounceClass::MailboxFull);
    check("smtp; 552 5.3.4 Message size exceeds fixed limit", BounceClass::MessageTooLarge);
    check("smtp; 550 5.7.1 message contains a virus (Eicar-Test-Signature)", BounceClass::ContentRejected);
    check(
        "smtp; 550 5.7.23 The message was rejected because of Sender Policy Framework violation",
        BounceClass::Authentication,
    );
    check(
        "smtp; 450 4.7.1 Client host rejected: cannot find your reverse hostname, [203.0.113.9]",
        BounceClass::Authentication,
    );
    check("smtp; 421 4.4.2 Connection timed out", BounceClass::Connection);
    check("smtp; 451 4.3.0 Temporary lookup failure", BounceClass::Connection);
    check("smtp; 451 4.3.2 Please try again later", BounceClass::ServerError);
    check("smtp; 550 5.7.1 Message rejected due to administrative policy", BounceClass::PolicyBlock);
    check(
        "smtp; 550 4.4.7 Message expired: unable to deliver in 840 minutes.<421 4.4.0 Unable to lookup DNS for exmaple.com>",
        BounceClass::Expired,
    );
}

#[test]
fn codes_decide_where_wording_does_not() {
    for (status, expected) in [
        ("5.1.1", BounceClass::InvalidRecipient),
        ("5.1.2", BounceClass::InvalidDomain),
        ("5.1.8", BounceClass::Authentication),
        ("5.1.9", BounceClass::InvalidRecipient),
        ("5.2.1", BounceClass::InvalidRecipient),
        ("4.2.1", BounceClass::InvalidRecipient),
        ("4.2.2", BounceClass::MailboxFull),
        ("5.2.3", BounceClass::MessageTooLarge),
        ("5.3.2", BounceClass::ServerError),
        ("5.4.4", BounceClass::InvalidDomain),
        ("4.4.1", BounceClass::Connection),
        ("5.4.6", BounceClass::Configuration),
        ("4.4.7", BounceClass::Expired),
        ("4.5.3", BounceClass::RateLimit),
        ("5.6.1", BounceClass::ContentRejected),
        ("5.7.26", BounceClass::Authentication),
        ("4.7.28", BounceClass::RateLimit),
        ("4.7.1", BounceClass::RateLimit),
        ("5.7.1", BounceClass::PolicyBlock),
        ("5.0.0", BounceClass::Unknown),
        ("", BounceClass::Unknown),
        ("not a code", BounceClass::Unknown),
    ] {
        check_with("General", status, "", expected);
    }
    for (reply, expected) in [
        ("552 sorry", BounceClass::MailboxFull),
        ("421 sorry", BounceClass::ServerError),
        ("550 sorry", BounceClass::InvalidRecipient),
        ("554 sorry", BounceClass::PolicyBlock),
        ("599 sorry", BounceClass::Unknown),
    ] {
        check(reply, expected);
    }
}

#[test]
fn sub_types_decide_in_any_spelling() {
    for (sub_type, expected) in [
        ("MailboxFull", BounceClass::MailboxFull),
        ("mailboxfull", BounceClass::MailboxFull),
        ("MessageTooLarge", BounceClass::MessageTooLarge),
        ("ContentRejected", BounceClass::ContentRejected),
        ("AttachmentRejected", BounceClass::ContentRejected),
        ("NoEmail", BounceClass::InvalidRecipient),
        ("CustomTimeoutExceeded", BounceClass::Expired),
        ("InternalFailure", BounceClass::ServerError),
        ("SpamDetected", BounceClass::SpamBlock),
        ("RecipientServerError", BounceClass::ServerError),
        ("IPFailure", BounceClass::ReputationBlock),
        ("TransientCommunicationFailure", BounceClass::Connection),
        ("BYOIPHostNameLookupUnavailable", BounceClass::Authentication),
        ("SendingDeferral", BounceClass::RateLimit),
        ("Undetermined", BounceClass::Unknown),
        ("SomethingNew", BounceClass::Unknown),
        ("", BounceClass::Unknown),
    ] {
        check_with(sub_type, "", "", expected);
    }
}

#[test]
fn suppression_is_recognised_and_only_the_global_list_counts_in_the_bounce_rate() {
    use Suppression::{GlobalList, OutsideReputation};
    for (bounce_type, sub_type, expected) in [
        ("Permanent", "OnAccountSuppressionList", Some(OutsideReputation)),
        ("Permanent", "OnTenantSuppressionList", Some(OutsideReputation)),
        ("Permanent", "EmailValidationSuppressed", Some(OutsideReputation)),
        ("Permanent", "UnsubscribedRecipient", Some(OutsideReputation)),
        ("Permanent", "Suppressed", Some(GlobalList)),
        ("permanent", "suppressed", Some(GlobalList)),
        ("PERMANENT", "UNSUBSCRIBEDRECIPIENT", Some(OutsideReputation)),
        ("Permanent", "Unsubscribed Recipient ", Some(OutsideReputation)),
        ("Permanent", "unsubscribed_recipient", Some(OutsideReputation)),
        ("Permanent", "Email Validation Suppressed", Some(OutsideReputation)),
        ("Permanent", "email-validation-suppressed", Some(OutsideReputation)),
        ("Permanent", "On Account Suppression List", Some(OutsideReputation)),
        ("Permanent", "General", None),
        ("Permanent", "NotSuppressed", None),
        ("Transient", "Suppressed", None),
    ] {
        let classified = bounce(&BounceFields {
            bounce_type,
            sub_type,
            has_reporting_mta: true,
            ..BounceFields::default()
        });
        assert_eq!(classified.suppression, expected, "{bounce_type} {sub_type}");
        assert_eq!(
            classified.class == BounceClass::Suppressed,
            !matches!(sub_type, "General" | "NotSuppressed"),
            "{bounce_type} {sub_type}"
        );
    }
}

#[test]
fn sub_type_is_compared_without_case_and_separators() {
    for (text, expected) in [
        ("MailboxFull", true),
        ("mailbox_full", true),
        ("MAILBOX-FULL", true),
        (" Mailbox Full ", true),
        ("Mailbox.Full", false),
        ("MailboxFul", false),
        ("MailboxFullX", false),
        ("", false),
    ] {
        assert_eq!(is_same_name("MailboxFull", text), expected, "{text:?}");
    }
}

#[test]
fn code_in_the_answer_is_trusted_before_the_reported_status() {
    for (status, diagnostic, expected) in [
        ("5.1.1", "smtp; 550 5.2.2 rejected", BounceClass::MailboxFull),
        ("5.2.2", "smtp; rejected", BounceClass::MailboxFull),
        (" 5.2.2 ", "", BounceClass::MailboxFull),
        ("2.0.0", "", BounceClass::Unknown),
    ] {
        check_with("General", status, diagnostic, expected);
    }
}

#[test]
fn wording_decides_before_codes_and_in_any_case() {
    check_with("General", "5.7.1", "smtp; 550 5.7.1 USER UNKNOWN", BounceClass::InvalidRecipient);
    check_with("General", "5.0.0", "Benutzer unbekannt (user unknown) ÄÖÜ", BounceClass::InvalidRecipient);
    let dmarc = "smtp; 554 5.7.9 Message not accepted for policy reasons. DMARC check failed";
    check_with("General", "5.7.9", dmarc, BounceClass::Authentication);
    let full = "smtp; 422 The recipient has exceeded mailbox storage limits";
    check_with("General", "", full, BounceClass::MailboxFull);
    check_with("General", "4.1.1", "smtp; 452 4.1.1 Mailbox space not enough", BounceClass::MailboxFull);
    check_with("General", "", "smtp; 550 Maximum line length exceeded", BounceClass::ContentRejected);
    check_with("General", "", "smtp; 550 Sender blocked by the recipient", BounceClass::PolicyBlock);
}

#[test]
fn absent_fields_are_classified_like_empty_ones() {
    let absent = BounceFields { bounce_type: "Permanent", ..BounceFields::default() };
    let empty = BounceFields { status: Some(""), diagnostic: Some(""), ..absent };
    assert_eq!(bounce(&absent), bounce(&empty));
    assert_eq!(
        bounce(&absent),
        BounceClassification {
            bounce_type: BounceType::Permanent,
            class: BounceClass::Unknown,
            suppression: None
        }
    );
    assert_eq!(delay("", None, None), BounceClass::Unknown);
}

#[test]
fn automatic_reply_is_recognised() {
    let reply = BounceFields { bounce_type: "Transient", sub_type: "General", ..BounceFields::default() };
    let classified = bounce(&reply);
    assert_eq!((classified.bounce_type, classified.class), (BounceType::AutoReply, BounceClass::Unknown));
    for bounced in [
        BounceFields { has_reporting_mta: true, ..reply },
        BounceFields { status: Some("4.4.7"), ..reply },
        BounceFields { diagnostic: Some("smtp; 451"), ..reply },
        BounceFields { sub_type: "MailboxFull", ..reply },
    ] {
        assert_eq!(bounce(&bounced).bounce_type, BounceType::Transient, "{bounced:?}");
    }
}

#[test]
fn unknown_bounce_types_are_undetermined() {
    for bounce_type in ["Undetermined", "Fatal", "", "PERMANENT "] {
        let classified = bounce(&BounceFields { bounce_type, ..BounceFields::default() });
        assert_eq!(classified.bounce_type, BounceType::Undetermined, "{bounce_type:?}");
    }
}

#[test]
fn every_rule_is_valid_and_has_a_source() {
    let file = rules::BounceRuleFile::built_in().unwrap();
    assert!((70..=rules::MAX_RULES).contains(&file.rules.len()), "{}", file.rules.len());
    let mut fragments: Vec<&String> = Vec::new();
    for rule in &file.rules {
        assert!(rule.source.len() > 8, "{rule:?}");
        assert!(BounceClass::ALL.iter().any(|reason| reason.name() == rule.class), "{rule:?}");
        assert!(rule.status.iter().all(|status| status::StatusPattern::parse(status).is_some()), "{rule:?}");
        assert!(rule.reply.iter().all(|reply| (400..600).contains(reply)), "{rule:?}");
        let states_a_condition = !(rule.sub_type.is_empty()
            && rule.status.is_empty()
            && rule.reply.is_empty()
            && rule.text.is_empty());
        assert!(states_a_condition, "{rule:?}");
        for text in rule.text.iter().chain(&rule.also).chain(&rule.unless) {
            assert_eq!(*text, text.to_lowercase(), "{rule:?}");
            // A phrase of codes and addresses only has no words, and would be found in every answer.
            assert!(Words::read(text).as_bytes().len() >= 4, "{rule:?}");
            fragments.push(text);
        }
    }
    fragments.sort();
    fragments.dedup();
    assert!(fragments.len() <= MAX_FRAGMENTS, "{}", fragments.len());
}

#[test]
fn every_fragment_reaches_a_rule_of_its_class() {
    let mut wrong = Vec::new();
    for rule in rules::BounceRuleFile::built_in().unwrap().rules {
        if !rule.sub_type.is_empty() || !rule.reply.is_empty() {
            continue;
        }
        // Any status that the rule takes, and any of the words that it wants besides.
        let status = rule.status.first().map(|status| status.replace('x', "5"));
        let also = if rule.also.is_empty() { vec![String::new()] } else { rule.also };
        for text in &rule.text {
            let classes: Vec<_> = also
                .iter()
                .map(|also| format!("{text} or {also}").replace('*', ""))
                .map(|answer| delay("General", status.as_deref(), Some(&answer)).name())
                .collect();
            // Together with one of them at least: a rule before this one may take other combinations.
            if !classes.iter().any(|class| *class == rule.class) {
                wrong.push((rule.class.clone(), text.clone(), classes));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn diagnostic_beyond_the_limit_is_not_searched() {
    let padding = " ".repeat(words::MAX_ANSWER_BYTES);
    check(&format!("{}user unknown", &padding[12..]), BounceClass::InvalidRecipient);
    check(&format!("{}user unknown", &padding[11..]), BounceClass::Unknown);
}

proptest! {
    #[test]
    fn any_answer_is_reduced_to_words(answer in "(\\PC|[ .@'<>-]){0,1500}") {
        let words = Words::read(&answer);
        let words = words.as_bytes();
        prop_assert!(words.starts_with(b" ") && words.ends_with(b" ") && words.len() <= answer.len().min(words::MAX_ANSWER_BYTES) + 2);
        prop_assert!(!words.contains(&b'@') && !words.windows(2).any(|pair| pair == b"  "));
    }

    #[test]
    fn any_text_is_classified(bounce_type in ".{0,20}", sub_type in ".{0,20}", status in ".{0,20}", diagnostic in ".{0,200}") {
        let fields = BounceFields {
            bounce_type: &bounce_type,
            sub_type: &sub_type,
            status: Some(&status),
            diagnostic: Some(&diagnostic),
            has_reporting_mta: false,
        };
        let classified = bounce(&fields);
        prop_assert!(classified.suppression.is_none() || classified.bounce_type == BounceType::Permanent);
    }
}
