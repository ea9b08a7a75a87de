//! Answers of the world's mail servers as SES reports them (addresses and IPs replaced), and what they mean.

use proptest::prelude::*;

use super::*;
use crate::fragments::MAX_FRAGMENTS;

fn check(diagnostic: &str, expected: Reason) {
    check_with("General", "5.0.0", diagnostic, expected);
}

fn check_with(sub_type: &str, status: &str, diagnostic: &str, expected: Reason) {
    let fields = BounceFields {
        bounce_type: "Transient",
        sub_type,
        status: Some(status),
        diagnostic: Some(diagnostic),
        has_reporting_mta: true,
    };
    assert_eq!(bounce(&fields).reason, expected, "{sub_type} {status} {diagnostic}");
    assert_eq!(delay(sub_type, Some(status), Some(diagnostic)), expected, "{sub_type} {status} {diagnostic}");
}

#[test]
fn gmails_answers_are_understood() {
    check(
        "smtp; 550-5.1.1 The email account that you tried to reach does not exist. Please try 550-5.1.1 double-checking the recipient's email address for typos or 550-5.1.1 unnecessary spaces. For more information, go to 550 5.1.1 https://support.google.com/mail/?p=NoSuchUser d2e1a72fcca58-7 - gsmtp",
        Reason::InvalidRecipient,
    );
    check(
        "smtp; 550-5.2.1 The email account that you tried to reach is inactive. 550 5.2.1 https://support.google.com/mail/?p=DisabledUser - gsmtp",
        Reason::InvalidRecipient,
    );
    check(
        "smtp; 550-5.7.1 [203.0.113.9 12] Our system has detected that this message is 550-5.7.1 likely unsolicited mail. To reduce the amount of spam sent to Gmail, 550-5.7.1 this message has been blocked. - gsmtp",
        Reason::SpamBlock,
    );
    check(
        "smtp; 550-5.7.1 [203.0.113.9 19] Our system has detected that this message is 550-5.7.1 likely suspicious due to the very low reputation of the sending domain.",
        Reason::ReputationBlock,
    );
    check(
        "smtp; 421-4.7.28 [203.0.113.9 15] Our system has detected an unusual rate of unsolicited mail originating from your IP address. To protect our 421-4.7.28 users from spam, mail sent from your IP address has been temporarily rate limited.",
        Reason::RateLimit,
    );
    check(
        "smtp; 550-5.7.26 This mail has been blocked because the sender is unauthenticated. 550-5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM.",
        Reason::Authentication,
    );
    check(
        "smtp; 550-5.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC policy.",
        Reason::Authentication,
    );
    check(
        "smtp; 552-5.2.2 The recipient's inbox is out of storage space. Please direct the recipient to https://support.google.com/mail/?p=OverQuotaPerm",
        Reason::MailboxFull,
    );
    check("smtp; 452-4.2.2 The email account that you tried to reach is over quota.", Reason::MailboxFull);
    check(
        "smtp; 450-4.2.1 The user you are trying to contact is receiving mail too quickly.",
        Reason::RateLimit,
    );
    check(
        "smtp; 550-5.7.25 [203.0.113.9] The IP address sending this message does not have a 550-5.7.25 PTR record setup, or the corresponding forward DNS entry does not 550-5.7.25 match the sending IP.",
        Reason::Authentication,
    );
    check(
        "smtp; 552-5.7.0 This message was blocked because its content presents a potential security issue. - gsmtp",
        Reason::ContentRejected,
    );
}

#[test]
fn microsofts_answers_are_understood() {
    check(
        "smtp; 550 5.7.1 Unfortunately, messages from [203.0.113.9] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3150). [Name=Protocol Filter Agent][AGT=PFA]",
        Reason::ReputationBlock,
    );
    check(
        "smtp; 550 5.7.1 Unfortunately, messages from [203.0.113.9] weren't sent. (S3140).",
        Reason::ReputationBlock,
    );
    check(
        "smtp; 451 4.7.650 The mail server [203.0.113.9] has been temporarily rate limited due to IP reputation. For e-mail delivery information, see https://postmaster.live.com (S775)",
        Reason::RateLimit,
    );
    check(
        "smtp; 451 4.7.500 Server busy. Please try again later from [203.0.113.9]. (S77714)",
        Reason::RateLimit,
    );
    check(
        "smtp; 550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
        Reason::InvalidRecipient,
    );
    check("smtp; 550 5.1.1 RESOLVER.ADR.RecipNotFound; not found", Reason::InvalidRecipient);
    check(
        "smtp; 550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).",
        Reason::InvalidRecipient,
    );
    check(
        "smtp; 550 5.4.1 Recipient address rejected: Access denied. [AM6EUR05FT049.eop-eur05.prod.protection.outlook.com]",
        Reason::InvalidRecipient,
    );
    check(
        "smtp; 550 5.7.606 Access denied, banned sending IP [203.0.113.9]. To request removal from this list please visit https://sender.office.com/",
        Reason::ReputationBlock,
    );
    check(
        "smtp; 550 5.7.515 Access denied, sending domain example.com does not meet the required authentication level.",
        Reason::Authentication,
    );
    check(
        "smtp; 550 5.7.509 Access denied, sending domain example.com does not pass DMARC verification and has a DMARC policy of reject.",
        Reason::Authentication,
    );
    check(
        "smtp; 554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded",
        Reason::MailboxFull,
    );
    check(
        "smtp; 550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required",
        Reason::PolicyBlock,
    );
    check("smtp; 550 5.7.64 TenantAttribution; Relay Access Denied", Reason::Configuration);
    check("smtp; 554 5.4.14 Hop count exceeded - possible mail loop ATTR34", Reason::Configuration);
    check(
        "smtp; 550 SC-001 (BAY004-MC1F12) Unfortunately, messages from 203.0.113.9 weren't sent.",
        Reason::ReputationBlock,
    );
    check("smtp; 550 5.7.501 Service unavailable. Spam abuse detected from IP range.", Reason::SpamBlock);
}

#[test]
fn yahoos_and_apples_answers_are_understood() {
    check(
        "smtp; 421 4.7.0 [TSS04] Messages from 203.0.113.9 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1; see https://postmaster.yahooinc.com/error-codes",
        Reason::RateLimit,
    );
    check(
        "smtp; 553 5.7.1 [BL21] Connections will not be accepted from 203.0.113.9, because the ip is in Spamhaus's list",
        Reason::ReputationBlock,
    );
    check(
        "smtp; 421 4.7.1 [TS03] All messages from 203.0.113.9 will be permanently deferred",
        Reason::ReputationBlock,
    );
    check(
        "smtp; 554 5.7.9 Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes",
        Reason::SpamBlock,
    );
    check(
        "smtp; 554 delivery error: dd This user doesn't have a yahoo.com account (jane@yahoo.com) [0] - mta4205.mail.bf1.yahoo.com",
        Reason::InvalidRecipient,
    );
    check("smtp; 552 1 Requested mail action aborted, mailbox not found", Reason::MailboxFull);
    check(
        "smtp; 554 30 Sorry, your message to jane@yahoo.com cannot be delivered. This mailbox is disabled (554.30).",
        Reason::InvalidRecipient,
    );
    check("smtp; 552 5.2.2 <jane@icloud.com>: user over quota", Reason::MailboxFull);
    check(
        "smtp; 554 5.7.1 [CS01] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137",
        Reason::SpamBlock,
    );
    check("smtp; 554 5.7.1 [HM08] Message rejected due to local policy.", Reason::ReputationBlock);
    check("smtp; 550 5.1.1 <jane@icloud.com>: user does not exist", Reason::InvalidRecipient);
}

#[test]
fn answers_of_filters_and_block_lists_are_understood() {
    check(
        "smtp; 550 5.7.1 Service unavailable, Client host [203.0.113.9] blocked using Spamhaus. To request removal from this list see https://www.spamhaus.org/query/ip/203.0.113.9",
        Reason::ReputationBlock,
    );
    check(
        "smtp; 554 5.7.1 Service unavailable; Client host [203.0.113.9] blocked using bl.spamcop.net; Blocked - see https://www.spamcop.net/bl.shtml?203.0.113.9",
        Reason::ReputationBlock,
    );
    check(
        "smtp; 550 5.7.0 Blocked - see https://support.proofpoint.com/dnsbl-lookup.cgi?ip=203.0.113.9",
        Reason::ReputationBlock,
    );
    check("smtp; 554 Blocked - see https://ipcheck.proofpoint.com/?ip=203.0.113.9", Reason::ReputationBlock);
    check(
        "smtp; 550 Rejected by header based Anti-Spoofing policy: sales@example.com - https://community.mimecast.com/docs/DOC-1369#550",
        Reason::SpamBlock,
    );
    check(
        "smtp; 451 Internal resources are temporarily unavailable - https://community.mimecast.com/docs/DOC-1369#451",
        Reason::RateLimit,
    );
    check(
        "smtp; 550 5.7.1 Blocked by CSI, see https://csi.cloudmark.com/en/reset/?ip=203.0.113.9",
        Reason::ReputationBlock,
    );
    check("smtp; 554 mail server permanently rejected message (#5.3.0), Cloudmark", Reason::SpamBlock);
    check(
        "smtp; 554-gw1.example.com 554 Your access to this mail system has been rejected due to the sending MTA's poor reputation.",
        Reason::ReputationBlock,
    );
    check("smtp; 554 rejected due to spam content", Reason::SpamBlock);
    check(
        "smtp; 553 Message filtered. Refer to the Troubleshooting page at http://www.symanteccloud.com/troubleshooting for more information. (#5.7.1)",
        Reason::SpamBlock,
    );
}

#[test]
fn access_providers_answers_are_understood() {
    check(
        "smtp; 554 resimta-c1p-022592.sys.comcast.net 203.0.113.9 Comcast block for spam. Please see http://postmaster.comcast.net/smtp-error-codes.php#BL000001",
        Reason::ReputationBlock,
    );
    check(
        "smtp; 421 4.1.0 203.0.113.9 Throttled - try again later. Please see https://postmaster.comcast.net/smtp-error-codes.php#RL000001",
        Reason::RateLimit,
    );
    check(
        "smtp; 554-Transaction failed 554-Reject due to policy restrictions. 554 For explanation visit https://postmaster.gmx.net/en/error-messages?ip=203.0.113.9&c=hi",
        Reason::ReputationBlock,
    );
    check(
        "smtp; 450 Requested mail action not taken: mailbox unavailable 450 Mailbox exceeds limitations on received mails.",
        Reason::RateLimit,
    );
    check(
        "smtp; 421 smtp.orange.fr [203.0.113.9] Service refuse. Veuillez essayer plus tard. Service refused, please try later. OFR_506 [506]",
        Reason::ReputationBlock,
    );
    check("smtp; 421 opme11lhd05 Too many connections, slow down. OFR004_104 [104]", Reason::RateLimit);
    check(
        "smtp; 554 IP=203.0.113.9 - A problem occurred. Ask your postmaster for help or to contact tosa@rx.t-online.de to clarify.",
        Reason::ReputationBlock,
    );
    check(
        "smtp; 550 spam message discarded/rejected. Please visit http://help.mail.ru/notspam-support/id?c=abc",
        Reason::SpamBlock,
    );
    check(
        "smtp; 554 5.7.1 [1] Message rejected under suspicion of SPAM; https://ya.cc/1IrBc",
        Reason::SpamBlock,
    );
    check(
        "smtp; 550 Ip frequency limited. http://service.mail.qq.com/cgi-bin/help?subtype=1&id=20022&no=1000725",
        Reason::RateLimit,
    );
    check(
        "smtp; 554 DT:SPM 163 smtp1, please see http://mail.163.com/help/help_spam_16.htm?ip=203.0.113.9",
        Reason::SpamBlock,
    );
    check("smtp; 550 RP:QRC 163 mx1, please see http://mail.163.com/help", Reason::RateLimit);
    check("smtp; 554 ImsRcvB AUP#In-1310 CTOX: 203.0.113.9", Reason::ReputationBlock);
}

#[test]
fn what_everybody_says_is_understood() {
    check(
        "smtp; 550 5.1.1 <jane@example.com>: Recipient address rejected: User unknown in virtual mailbox table",
        Reason::InvalidRecipient,
    );
    check("smtp; 550 No such user here", Reason::InvalidRecipient);
    check("smtp; 550 5.1.2 <jane@exmaple.com>: Domain does not exist", Reason::InvalidDomain);
    check("smtp; 550 5.4.4 Unable to lookup DNS for exmaple.com", Reason::InvalidDomain);
    check("smtp; 556 5.1.10 domain does not accept mail (nullMX)", Reason::InvalidDomain);
    check(
        "smtp; 450 4.2.0 <jane@example.com>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/",
        Reason::RateLimit,
    );
    check("smtp; 554 5.7.1 <jane@example.com>: Relay access denied", Reason::Configuration);
    check("smtp; 452 4.2.2 Mailbox full", Reason::MailboxFull);
    check("smtp; 552 5.3.4 Message size exceeds fixed limit", Reason::MessageTooLarge);
    check("smtp; 550 5.7.1 message contains a virus (Eicar-Test-Signature)", Reason::ContentRejected);
    check(
        "smtp; 550 5.7.23 The message was rejected because of Sender Policy Framework violation",
        Reason::Authentication,
    );
    check(
        "smtp; 450 4.7.1 Client host rejected: cannot find your reverse hostname, [203.0.113.9]",
        Reason::Authentication,
    );
    check("smtp; 421 4.4.2 Connection timed out", Reason::Connection);
    check("smtp; 451 4.3.0 Temporary lookup failure", Reason::Connection);
    check("smtp; 451 4.3.2 Please try again later", Reason::ServerError);
    check("smtp; 550 5.7.1 Message rejected due to administrative policy", Reason::PolicyBlock);
    check(
        "smtp; 550 4.4.7 Message expired: unable to deliver in 840 minutes.<421 4.4.0 Unable to lookup DNS for exmaple.com>",
        Reason::Expired,
    );
}

#[test]
fn codes_speak_where_words_do_not() {
    for (status, expected) in [
        ("5.1.1", Reason::InvalidRecipient),
        ("5.1.2", Reason::InvalidDomain),
        ("5.1.8", Reason::Authentication),
        ("5.1.9", Reason::InvalidRecipient),
        ("5.2.1", Reason::InvalidRecipient),
        ("4.2.1", Reason::RateLimit),
        ("4.2.2", Reason::MailboxFull),
        ("5.2.3", Reason::MessageTooLarge),
        ("5.3.2", Reason::ServerError),
        ("5.4.4", Reason::InvalidDomain),
        ("4.4.1", Reason::Connection),
        ("5.4.6", Reason::Configuration),
        ("4.4.7", Reason::Expired),
        ("4.5.3", Reason::RateLimit),
        ("5.6.1", Reason::ContentRejected),
        ("5.7.26", Reason::Authentication),
        ("4.7.28", Reason::RateLimit),
        ("4.7.1", Reason::RateLimit),
        ("5.7.1", Reason::PolicyBlock),
        ("5.0.0", Reason::Unknown),
        ("", Reason::Unknown),
        ("not a code", Reason::Unknown),
    ] {
        check_with("General", status, "", expected);
    }
    for (reply, expected) in [
        ("552 sorry", Reason::MailboxFull),
        ("421 sorry", Reason::ServerError),
        ("550 sorry", Reason::InvalidRecipient),
        ("554 sorry", Reason::PolicyBlock),
        ("599 sorry", Reason::Unknown),
    ] {
        check(reply, expected);
    }
}

#[test]
fn sub_types_speak_in_any_case() {
    for (sub_type, expected) in [
        ("MailboxFull", Reason::MailboxFull),
        ("mailboxfull", Reason::MailboxFull),
        ("MessageTooLarge", Reason::MessageTooLarge),
        ("ContentRejected", Reason::ContentRejected),
        ("AttachmentRejected", Reason::ContentRejected),
        ("NoEmail", Reason::InvalidRecipient),
        ("CustomTimeoutExceeded", Reason::Expired),
        ("InternalFailure", Reason::ServerError),
        ("SpamDetected", Reason::SpamBlock),
        ("RecipientServerError", Reason::ServerError),
        ("IPFailure", Reason::ReputationBlock),
        ("TransientCommunicationFailure", Reason::Connection),
        ("BYOIPHostNameLookupUnavailable", Reason::Authentication),
        ("SendingDeferral", Reason::RateLimit),
        ("Undetermined", Reason::Unknown),
        ("SomethingNew", Reason::Unknown),
        ("", Reason::Unknown),
    ] {
        check_with(sub_type, "", "", expected);
    }
}

#[test]
fn suppressed_mail_was_never_tried_and_only_the_global_list_counts_against_the_sender() {
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
            classified.reason == Reason::Suppressed,
            !matches!(sub_type, "General" | "NotSuppressed"),
            "{bounce_type} {sub_type}"
        );
    }
}

#[test]
fn an_automatic_reply_is_no_bounce() {
    let reply = BounceFields { bounce_type: "Transient", sub_type: "General", ..BounceFields::default() };
    let classified = bounce(&reply);
    assert_eq!((classified.bounce_type, classified.reason), (BounceType::AutoReply, Reason::Unknown));
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
fn unknown_types_are_undetermined() {
    for bounce_type in ["Undetermined", "Fatal", "", "PERMANENT "] {
        let classified = bounce(&BounceFields { bounce_type, ..BounceFields::default() });
        assert_eq!(classified.bounce_type, BounceType::Undetermined, "{bounce_type:?}");
    }
}

#[test]
fn every_rule_can_be_read_and_says_where_it_is_from() {
    let file = rules::RuleFile::built_in().unwrap();
    assert!(file.rules.len() >= 70, "{}", file.rules.len());
    let mut fragments: Vec<&String> = Vec::new();
    for rule in &file.rules {
        assert!(rule.source.len() > 8, "{rule:?}");
        assert!(Reason::ALL.iter().any(|reason| reason.name() == rule.reason), "{rule:?}");
        assert!(rule.status.iter().all(|status| status::StatusPattern::parse(status).is_some()), "{rule:?}");
        assert!(rule.reply.iter().all(|reply| (400..600).contains(reply)), "{rule:?}");
        assert!(rule.text.iter().all(|text| text.len() >= 3 && *text == text.to_lowercase()), "{rule:?}");
        let states_a_condition = !(rule.sub_type.is_empty()
            && rule.status.is_empty()
            && rule.reply.is_empty()
            && rule.text.is_empty());
        assert!(states_a_condition, "{rule:?}");
        fragments.extend(&rule.text);
    }
    fragments.sort();
    fragments.dedup();
    assert!(fragments.len() <= MAX_FRAGMENTS, "{}", fragments.len());
}

#[test]
fn no_fragment_is_shadowed_by_an_earlier_rule() {
    for rule in rules::RuleFile::built_in().unwrap().rules {
        if !rule.sub_type.is_empty() || !rule.status.is_empty() || !rule.reply.is_empty() {
            continue;
        }
        for text in &rule.text {
            assert_eq!(delay("General", None, Some(text)).name(), rule.reason, "{text:?}");
        }
    }
}

#[test]
fn words_behind_the_limit_are_not_read() {
    let padding = " ".repeat(rules::MAX_DIAGNOSTIC_BYTES);
    check(&format!("{}user unknown", &padding[12..]), Reason::InvalidRecipient);
    check(&format!("{}user unknown", &padding[11..]), Reason::Unknown);
}

proptest! {
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
