//! Writes the type-specific object of an event: `delivery`, `bounce`, `open` and so on.

use super::{Event, Writer, push_id};
use crate::formatting::push_decimal;
use crate::message::EventDetail;
use crate::random::mix;
use crate::smtp_replies::SmtpReply;
use crate::user_agents::UserAgent;

/// Since 2026-08-07 SES flags opens and clicks that it attributes to machines.
const BOT_FLAG_SINCE_MS: i64 = 1_786_060_800_000;
const REPORTING_MTA: &[u8] = b"a8-21.smtp-out.amazonses.com";

impl Writer {
    pub(super) fn body(&mut self, out: &mut Vec<u8>, event: &Event<'_>) {
        match event.detail {
            EventDetail::Send => out.extend_from_slice(br#""send":{}"#),
            EventDetail::Reject => out.extend_from_slice(br#""reject":{"reason":"Bad content"}"#),
            EventDetail::RenderingFailure => out.extend_from_slice(
                br#""failure":{"errorMessage":"Attribute 'firstName' is not present in the rendering data.","templateName":"base"}"#,
            ),
            EventDetail::Delivery { processing_ms } => self.delivery(out, event, processing_ms),
            EventDetail::Bounce { reply, after_acceptance } => self.bounce(out, event, reply, after_acceptance),
            EventDetail::Suppressed(reply) => self.bounce(out, event, reply, false),
            EventDetail::AutoReply => self.auto_reply(out, event),
            EventDetail::Complaint => self.complaint(out, event),
            EventDetail::Delay(reply) => self.delay(out, event, reply),
            EventDetail::Open(agent) => {
                out.extend_from_slice(br#""open":{"#);
                self.interaction(out, event, agent);
                out.push(b'}');
            }
            EventDetail::Click { agent, link } => self.click(out, event, agent, link),
            EventDetail::Unsubscribe => self.unsubscribe(out, event),
        }
    }

    fn timestamp(&mut self, out: &mut Vec<u8>, at_ms: i64) {
        out.extend_from_slice(br#""timestamp":""#);
        self.dates.push_iso(out, at_ms);
        out.push(b'"');
    }

    fn recipient(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"emailAddress":""#);
        out.extend_from_slice(&self.address);
        out.push(b'"');
    }

    fn delivery(&mut self, out: &mut Vec<u8>, event: &Event<'_>, processing_ms: u32) {
        out.extend_from_slice(br#""delivery":{"#);
        self.timestamp(out, event.at_ms);
        out.extend_from_slice(br#","processingTimeMillis":"#);
        push_decimal(out, u64::from(processing_ms));
        out.extend_from_slice(br#","recipients":[""#);
        out.extend_from_slice(&self.address);
        let [before, after] = event.mailbox.behaviour.acceptance;
        out.extend_from_slice(br#""],"smtpResponse":""#);
        out.extend_from_slice(before.as_bytes());
        push_decimal(out, event.at_ms.unsigned_abs() / 1000);
        out.extend_from_slice(after.as_bytes());
        out.extend_from_slice(br#"","remoteMtaIp":"192.0.2."#);
        push_decimal(out, 1 + event.message.serial % 200);
        out.extend_from_slice(br#"","reportingMTA":""#);
        out.extend_from_slice(REPORTING_MTA);
        out.extend_from_slice(br#""}"#);
    }

    fn bounce(&mut self, out: &mut Vec<u8>, event: &Event<'_>, reply: &SmtpReply, after_acceptance: bool) {
        for part in
            [r#""bounce":{"bounceType":""#, reply.bounce_type, r#"","bounceSubType":""#, reply.sub_type]
        {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(br#"","bouncedRecipients":["#);
        self.recipient(out);
        if !reply.status.is_empty() {
            let parts = [
                r#","action":"failed","status":""#,
                reply.status,
                r#"","diagnosticCode":""#,
                reply.diagnostic,
                "\"",
            ];
            for part in parts {
                out.extend_from_slice(part.as_bytes());
            }
        }
        out.extend_from_slice(b"}],");
        self.timestamp(out, event.at_ms);
        feedback_id(out, event);
        if !reply.status.is_empty() {
            out.extend_from_slice(br#","reportingMTA":"dns; "#);
            let host = if after_acceptance { event.mailbox.behaviour.host.as_bytes() } else { REPORTING_MTA };
            out.extend_from_slice(host);
            out.push(b'"');
        }
        out.push(b'}');
    }

    /// SES publishes automatic replies as transient bounces without delivery-status fields.
    fn auto_reply(&mut self, out: &mut Vec<u8>, event: &Event<'_>) {
        out.extend_from_slice(
            br#""bounce":{"bounceType":"Transient","bounceSubType":"General","bouncedRecipients":["#,
        );
        self.recipient(out);
        out.extend_from_slice(b"}],");
        self.timestamp(out, event.at_ms);
        feedback_id(out, event);
        out.push(b'}');
    }

    fn complaint(&mut self, out: &mut Vec<u8>, event: &Event<'_>) {
        out.extend_from_slice(br#""complaint":{"complainedRecipients":["#);
        self.recipient(out);
        out.extend_from_slice(b"}],");
        self.timestamp(out, event.at_ms);
        feedback_id(out, event);
        out.extend_from_slice(br#","complaintSubType":null,"userAgent":"Mail Abuse Reporter/2.0","complaintFeedbackType":"abuse","arrivalDate":""#);
        self.dates.push_iso(out, event.at_ms);
        out.extend_from_slice(br#""}"#);
    }

    fn delay(&mut self, out: &mut Vec<u8>, event: &Event<'_>, reply: &SmtpReply) {
        out.extend_from_slice(br#""deliveryDelay":{"#);
        self.timestamp(out, event.at_ms);
        for part in [r#","delayType":""#, reply.sub_type, r#"","expirationTime":""#] {
            out.extend_from_slice(part.as_bytes());
        }
        self.dates.push_iso(out, event.message.sent_at_ms + 14 * 3_600_000);
        out.extend_from_slice(br#"","delayedRecipients":["#);
        self.recipient(out);
        for part in [r#","status":""#, reply.status, r#"","diagnosticCode":""#, reply.diagnostic, r#""}]}"#] {
            out.extend_from_slice(part.as_bytes());
        }
    }

    fn interaction(&mut self, out: &mut Vec<u8>, event: &Event<'_>, agent: &UserAgent) {
        self.timestamp(out, event.at_ms);
        for part in [r#","userAgent":""#, agent.user_agent, r#"","ipAddress":""#, agent.network] {
            out.extend_from_slice(part.as_bytes());
        }
        push_decimal(out, 1 + mix(u64::from(event.message.person)) % 254);
        out.push(b'"');
        if event.at_ms >= BOT_FLAG_SINCE_MS {
            for part in [r#","isBotEvent":""#, agent.is_bot_event, "\""] {
                out.extend_from_slice(part.as_bytes());
            }
        }
    }

    fn click(&mut self, out: &mut Vec<u8>, event: &Event<'_>, agent: &UserAgent, link: u8) {
        out.extend_from_slice(br#""click":{"#);
        self.interaction(out, event, agent);
        out.extend_from_slice(br#","link":""#);
        out.extend_from_slice(event.template.site.as_bytes());
        out.extend_from_slice(b"?utm_source=ses&utm_medium=email&item=");
        push_decimal(out, u64::from(link));
        out.extend_from_slice(br#"","linkTags":"#);
        out.extend_from_slice(if link == 0 { br#"{"position":["top"]}"# } else { b"null" });
        out.push(b'}');
    }

    fn unsubscribe(&mut self, out: &mut Vec<u8>, event: &Event<'_>) {
        out.extend_from_slice(br#""subscription":{"contactList":"everybody","#);
        self.timestamp(out, event.at_ms);
        out.extend_from_slice(br#","source":"UnsubscribeHeader","newTopicPreferences":{"unsubscribeAll":true},"oldTopicPreferences":{"unsubscribeAll":false}}"#);
    }
}

/// The feedback ID, derived from message and time so that each bounce and complaint has its own.
fn feedback_id(out: &mut Vec<u8>, event: &Event<'_>) {
    out.extend_from_slice(br#","feedbackId":""#);
    let seed = event.message.serial ^ event.at_ms.unsigned_abs().rotate_left(32);
    push_id(out, event.at_ms, mix(seed ^ 0xfeed), mix(!seed));
    out.push(b'"');
}
