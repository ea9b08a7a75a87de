//! Holds the evidence to what servers really say: every provider with evidence has samples, each sample names its provider and
//! nobody else, and ordinary server software names nobody.

use std::collections::BTreeSet;

use super::*;

/// What the servers of each provider say: answers to deliveries, diagnostics of bounces and hosts that report bounces.
const SAMPLES: &[(&str, &[&str])] = &[
    (
        "mimecast",
        &[
            "250 SmtpThread-4711-1732000000000@eu-mta-12.eu.mimecast.lan Received OK [bW9zdGx5IGhhcm1sZXNz.uk12]",
            "smtp; 550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550 [Zm9ydHktdHdv.us45]",
            "dns; eu-smtp-inbound-1.mimecast.com",
        ],
    ),
    (
        "proofpoint",
        &[
            "250 2.0.0 4b7h2k9xq1-1 Message accepted for delivery",
            "smtp; 550 5.7.0 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.17",
            "smtp; 550 5.7.1 Service unavailable; client [192.0.2.17] blocked using prs.proofpoint.com",
            "dns; mx0b-00998877.pphosted.com",
            "smtp; 421 mx1-us1.ppe-hosted.com All screening ports are busy",
        ],
    ),
    (
        "barracuda",
        &[
            "dns; d11223a.ess.barracudanetworks.com",
            "dns; d11223a.ess.de.barracudanetworks.com",
            "smtp; 550 permanent failure for one or more recipients (ann@shop.example:blocked)",
            "smtp; 554 Service unavailable; Client host [out.shop.example] blocked using Barracuda Reputation; \
             http://www.barracudanetworks.com/reputation/?r=1&ip=192.0.2.17",
        ],
    ),
    (
        "cisco",
        &[
            "250 ok:  Message 73920164 accepted",
            "smtp; 554-esa2.hc1020-33.iphmx.com 554 Your access is refused",
        ],
    ),
    ("trendmicro", &["dns; in.tmes.trendmicro.eu", "dns; shop-example.in.hes.trendmicro.com"]),
    ("sophos", &["dns; mx-01-eu-central-1.prod.hydra.sophos.com", "dns; asp-relay-ip.asp.reflexion.net"]),
    ("forcepoint", &["dns; cust4711-1.in.mailcontrol.com"]),
    (
        "symantec",
        &[
            "250 ok 1732000000 qp 4711 server-5.tower-31.messagelabs.com!1732000000!4711!1",
            "smtp; 553-Message filtered. Refer to the Troubleshooting page at 553-http://www.symanteccloud.com/troubleshooting for more \
             553 information. (#5.7.1)",
            "dns; cluster5.eu.messagelabs.com",
        ],
    ),
    ("fortinet", &["dns; gw4711.fortimailcloud.com"]),
    ("hornetsecurity", &["dns; mx-gate31-hz1.antispameurope.com", "dns; mx01.hornetsecurity.com"]),
    (
        "spamexperts",
        &["dns; mx4.antispamcloud.com", "dns; fallbackmx.spamexperts.eu", "dns; mx.spamexperts.com"],
    ),
    ("spamtitan", &["dns; shop-1.cloud15.spamtitan.com"]),
    ("appriver", &["dns; server66.appriver.example.arsmtp.com"]),
    ("trellix", &["dns; primary.eu.email.fireeyecloud.com"]),
    ("expurgate", &["dns; mx01.expurgate.net"]),
    (
        "cloudflare",
        &[
            "dns; route2.mx.cloudflare.net",
            "smtp; 554 192.0.2.17 found on one or more RBLs (abusixip). Refer to \
             https://developers.cloudflare.com/email-routing/postmaster/#spam-and-abusive-traffic/",
        ],
    ),
    (
        "google-workspace",
        &[
            "250 2.0.0 OK  1732000000 6a1803df08f44-6d4fa9b8c7asi9876543d6.123 - gsmtp",
            "250 2.0.0 OK DMARC:Quarantine 1732000000 l4-20020ad44084000000b00570b7ce3d78si1013747qvp.465 - gsmtp",
            "smtp; 550-5.1.1 The email account that you tried to reach does not exist. For more information, go to 550 5.1.1 \
             https://support.google.com/mail/?p=NoSuchUser a1si4711 - gsmtp",
            "smtp; 421 4.7.0 Try again later. For more information, go to https://support.google.com/a/answer/3221692",
            "dns; alt2.aspmx.l.google.com",
            "dns; googlemail.com",
        ],
    ),
    (
        "yahoo",
        &[
            "250 ok dirdel",
            "250 ok dirdel 62/0",
            "smtp; 554 5.7.9 Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes",
            "smtp; 451 Message temporarily deferred; see https://senders.yahooinc.com/error-codes",
            "dns; mx-biz.mail.am0.yahoodns.net",
        ],
    ),
    (
        "microsoft-365",
        &[
            "250 2.6.0 <0102018f@eu-west-1.amazonses.com> [InternalId=4711, Hostname=AS8PR07MB4711.eurprd07.prod.outlook.com] \
             21034 bytes in 0.311, 66.010 KB/sec Queued mail for delivery",
            "250 2.6.0 <0102018f@eu-west-1.amazonses.com> [InternalId=4711, Hostname=DM6NAM12HT4711.mail.protection.outlook.com] Queued",
            "smtp; 550 5.4.1 Recipient address rejected: Access denied. \
             [AM3PEPF0000A4711.eurprd04.prod.protection.outlook.com 2024-11-19T08:00:00.000Z 08DD0471]",
            "smtp; 550 5.7.606 Access denied, banned sending IP [192.0.2.17]. To request removal from this list please visit \
             https://sender.office.com/",
            "smtp; 550 5.1.10 RESOLVER.ADR.RecipientNotFound [AM0PR01MB4711.eurprd01.prod.exchangelabs.com]",
            "dns; shop-example.k-v1.mx.microsoft",
        ],
    ),
    (
        "apple",
        &[
            "smtp; 554 5.7.1 [CS01] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137",
            "dns; mx02.mail.icloud.com",
        ],
    ),
    ("proton", &["dns; mailsec.protonmail.ch"]),
    (
        "zoho",
        &["dns; mx2.zoho.eu", "dns; smtpin.zoho.com", "smtp; 552 5.7.1 virus EICAR detected by Zoho Mail"],
    ),
    ("fastmail", &["dns; in2-smtp.messagingengine.com"]),
    (
        "godaddy",
        &[
            "smtp; 550 5.1.1 <ann@shop.example> Recipient not found. <http://x.co/irbounce>",
            "smtp; 550 shop.example From: Domain is invalid. IB506 <http://x.co/srbounce>",
            "smtp; 554 mx.shop.example bizsmtp IB105. Connection refused. 192.0.2.17 is listed on the Exploits Block List",
            "dns; smtp.secureserver.net",
        ],
    ),
    (
        "rackspace",
        &[
            "smtp; 554 5.7.1 ACL dns_rbl; Client host [192.0.2.17] blocked using sa.blagr.emailsrvr.com=127.24.0.2",
            "dns; mx1.emailsrvr.com",
        ],
    ),
    ("amazon-workmail", &["dns; inbound-smtp.us-west-2.amazonaws.com"]),
    ("ovh", &["dns; mx2.mail.ovh.net"]),
    ("strato", &["dns; smtpin.rzone.de"]),
    ("all-inkl", &["dns; dd4711.kasserver.com"]),
    ("hetzner", &["dns; mail.your-server.de"]),
    ("domainfactory", &["dns; mxlb.ispgateway.de"]),
    ("gandi", &["dns; spool.mail.gandi.net"]),
    ("infomaniak", &["dns; mta-gw.infomaniak.ch"]),
    ("one-com", &["dns; mx3.pub.mailpod8-cph3.one.com"]),
    ("register-it", &["dns; mail.register.it"]),
    ("transip", &["dns; mx.transip.email"]),
    ("loopia", &["dns; mailcluster.loopia.se"]),
    ("websupport", &["dns; mx1.m1.websupport.sk"]),
    ("beget", &["dns; mx2.beget.com"]),
    ("hostinger", &["dns; mx1.hostinger.com", "dns; mx2.hostinger.com.br"]),
    ("titan", &["dns; mx1.titan.email"]),
    (
        "mailhostbox",
        &[
            "smtp; 521 Service unavailable. Please see http://support.mailhostbox.com/email-administrators-guide-error-codes/",
        ],
    ),
    (
        "privateemail",
        &[
            "dns; mx1.privateemail.com",
            "dns; server4711.web-hosting.com",
            "dns; eforward2.registrar-servers.com",
        ],
    ),
    ("dreamhost", &["dns; mx1.mail.dreamhost.com"]),
    ("newfold", &["dns; box4711.bluehost.com", "dns; gateway31.websitewelcome.com"]),
    ("network-solutions", &["dns; inbound.shop.example.netsolmail.net"]),
    ("siteground", &["dns; mx10.antispam.mailspamprotection.com"]),
    ("opensrs", &["dns; mx.shop.example.cust.b.hostedemail.com"]),
    ("intermedia", &["dns; east.smtp.mx.exch090.serverdata.net"]),
    ("migadu", &["dns; aspmx1.migadu.com"]),
    ("mxroute", &["dns; arrow.mxroute.com"]),
    ("locaweb", &["dns; mx.core.locaweb.com.br"]),
    ("kagoya", &["dns; dmail.kagoya.net"]),
    (
        "improvmx",
        &[
            "dns; mx2.improvmx.com",
            "smtp; 551 5.7.1 Loop detected: Email is sent and forwarded from/to improvmx.com.",
        ],
    ),
    ("forward-email", &["dns; mx1.forwardemail.net"]),
    ("mailbox", &["dns; mxext2.mailbox.org"]),
    (
        "ionos",
        &[
            "250 Requested mail action okay, completed: id=1MTRAS-1tDq0p2Kbk-00ShopX",
            "smtp; 554-kundenserver.de (mxeue012) Nemesis ESMTP Service not available",
            "dns; mx01.perfora.net",
            "dns; mx00.ionos.co.uk",
        ],
    ),
    (
        "tonline",
        &[
            "smtp; 554 IP=192.0.2.17 - A problem occurred. (Ask your postmaster for help or to contact tosa@rx.t-online.de to clarify.)",
        ],
    ),
    ("aruba", &["dns; mx.aruba.it"]),
    (
        "yandex",
        &[
            "250 2.0.0 Ok: queued on mxfront9q.mail.yandex.net as 1732000000-Qd4PkR0Ab1-Xy2ZWvUt",
            "smtp; 554 5.7.1 Message rejected under suspicion of SPAM; https://ya.cc/1IrBc 1732000000-Qd4PkR0Ab1",
        ],
    ),
    (
        "mailru",
        &[
            "smtp; 550 5.7.1 Not accepted, see https://help.mail.ru/mail-help/postmaster/dmarc",
            "dns; emx.mail.ru",
        ],
    ),
    ("seznam", &["dns; mx1.seznam.cz"]),
    (
        "qq",
        &[
            "smtp; 550 Mailbox not found. http://service.exmail.qq.com/cgi-bin/help?subtype=1&&id=20022&&no=1000728",
            "smtp; 550 Ip frequency limited. https://service.mail.qq.com/detail/122/172",
            "smtp; 550 Mailbox unavailable or access denied. https://open.work.weixin.qq.com/help2/pc/20057.",
            "dns; mxbiz2.qq.com",
        ],
    ),
    (
        "netease",
        &[
            "smtp; 554 DT:SPM 163 mx9,please see http://mail.163.com/help/help_spam_16.htm?ip=192.0.2.17&hostid=mx9",
            "dns; qiye163mx01.mxmail.netease.com",
        ],
    ),
    (
        "aliyun",
        &[
            "250 Data Ok: queued as freedom ###envid=4711",
            "dns; mx1.qiye.aliyun.com",
            "dns; mxw.mxhichina.com",
        ],
    ),
    ("rediff", &["dns; mail.rediffmailpro.com"]),
];

/// The providers that `text` names, whatever their order in the list.
fn named(text: &str) -> Vec<&'static str> {
    let mut found = BTreeSet::new();
    RULES.fragments.for_each_found(text.to_ascii_lowercase().as_bytes(), |number| {
        found.insert(RULES.by_fragment[number]);
    });
    found.into_iter().map(|position| RULES.slugs[position]).collect()
}

#[test]
fn rules_are_well_formed() {
    let mut fragments: Vec<&str> = Vec::new();
    for provider in super::super::all() {
        let Some(evidence) = &provider.evidence else { continue };
        assert!(evidence.source.len() > 8, "{}", provider.slug);
        assert!(!evidence.text.is_empty() || !evidence.networks.is_empty(), "{}", provider.slug);
        for text in &evidence.text {
            assert!(text.len() > 6 && *text == text.to_ascii_lowercase(), "{text}");
        }
        for network in &evidence.networks {
            assert!(Network::parse(network).is_some(), "{network}");
        }
        fragments.extend(&evidence.text);
    }
    assert!(fragments.len() < crate::fragments::MAX_FRAGMENTS, "{}", fragments.len());
    // One inside another would be dead, or would belong to two providers.
    for (at, fragment) in fragments.iter().enumerate() {
        for (other_at, other) in fragments.iter().enumerate() {
            assert!(at == other_at || !fragment.contains(other), "{fragment} contains {other}");
        }
    }
}

#[test]
fn every_provider_with_evidence_has_samples() {
    for provider in super::super::all() {
        let has_sample = SAMPLES.iter().any(|(slug, _)| *slug == provider.slug);
        let has_text = provider.evidence.as_ref().is_some_and(|evidence| !evidence.text.is_empty());
        assert_eq!(has_sample, has_text, "{}", provider.slug);
    }
}

#[test]
fn samples_name_their_provider_and_nobody_else() {
    for (slug, texts) in SAMPLES {
        for text in *texts {
            assert_eq!(named(text), [*slug], "{text}");
            assert_eq!(recognise(&[text], ""), Some(*slug), "{text}");
        }
    }
}

#[test]
fn every_fragment_occurs_in_a_sample_or_is_a_host_of_its_provider() {
    // A fragment that no sample has is allowed for regions and twins of a host; most must be seen.
    let all: Vec<String> =
        SAMPLES.iter().flat_map(|(_, texts)| texts.iter()).map(|text| text.to_ascii_lowercase()).collect();
    let fragments =
        super::super::all().iter().filter_map(|one| one.evidence.as_ref()).flat_map(|one| &one.text);
    let (seen, unseen): (Vec<&&str>, Vec<&&str>) =
        fragments.partition(|fragment| all.iter().any(|text| text.contains(**fragment)));
    assert!(unseen.iter().all(|fragment| fragment.contains('.')), "{unseen:?}");
    assert!(seen.len() > unseen.len() * 2, "{} {unseen:?}", seen.len());
}

#[test]
fn ordinary_servers_name_nobody() {
    for text in [
        "",
        "250 OK",
        "250 Ok",
        "250 2.0.0 Ok",
        "250 2.6.0 Message received",
        // Postfix
        "250 2.0.0 Ok: queued as 4XtBzq2Zm1z9sRk",
        "250 2.0.0 Ok: queued as 8A3C51E00F2",
        "smtp; 550 5.1.1 <ann@shop.example>: Recipient address rejected: User unknown in virtual mailbox table",
        "smtp; 554 5.7.1 Service unavailable; Client host [192.0.2.17] blocked using zen.spamhaus.org",
        "smtp; 554 5.7.1 Service unavailable; Client host [192.0.2.17] blocked using b.barracudacentral.org; Client host blocked using \
         Barracuda Reputation, see http://www.barracudanetworks.com/reputation/?r=1&ip=192.0.2.17",
        // Exim
        "250 OK id=1tDq0p-0004Bc-2K",
        "smtp; 550 No such person at this address",
        "smtp; 550 Administrative prohibition",
        // Sendmail
        "250 2.0.0 4AJ80b4u004711 Message accepted for delivery",
        "250 2.0.0 u8KExYzq012345 Message accepted for delivery",
        "smtp; 550 5.1.1 <ann@shop.example>... User unknown",
        // qmail
        "250 ok 1732000000 qp 4711",
        "smtp; 550 sorry, no mailbox here by that name (#5.1.1 - chkusr)",
        // Other software
        "250 2.0.0 Message accepted for delivery",
        "250 2.0.0 1tDq0p0004Bc2K mail accepted for delivery",
        "250 Message queued",
        "250 Mail OK queued as mx12,AQAAfwD3zhKLRzxnq1cAAA--.4711S2 1732000000",
        "250 2.1.5 Delivery OK",
        "250 SAQ Message accepted for delivery",
        // The recipient's or the sender's address is in the answer, and the sender is Amazon SES
        "smtp; 550 5.1.1 <ann@gmail.com> unknown user",
        "smtp; 550 5.1.1 <ann@googlemail.com> unknown user",
        "smtp; 550 5.1.1 <ann@outlook.com>: mailbox unavailable",
        "smtp; 550 5.1.1 <ann@zoho.com> <ann@yandex.net> <ann@qq.com> <ann@one.com> <ann@mail.ru> <ann@yahoo.com> unknown",
        "smtp; 550 5.7.1 e240-12.smtp-out.eu-west-1.amazonses.com [192.0.2.17] is not welcome, see https://aws.amazon.com/ses/",
        "dns; a8-70.smtp-out.amazonses.com",
        "dsn; a8-70.smtp-out.amazonses.com",
        // Servers of customers at a host that also sells mail
        "dns; vps-4711.vps.ovh.net",
        "dns; static.17.2.0.192.clients.your-server.de",
        "dns; ec2-192-0-2-17.eu-west-1.compute.amazonaws.com",
    ] {
        assert_eq!(named(text), [""; 0], "{text}");
        assert_eq!(recognise(&[text], "192.0.2.1"), None, "{text}");
    }
}

#[test]
fn networks_name_their_provider_where_the_answer_does_not() {
    for (address, expected) in [
        ("40.107.1.2", Some("microsoft-365")),
        ("52.101.68.12", Some("microsoft-365")),
        ("67.231.149.7", Some("proofpoint")),
        ("209.222.82.253", Some("barracuda")),
        ("17.57.155.25", Some("apple")),
        ("54.240.8.53", None),
        ("192.0.2.1", None),
        ("2001:db8::25", None),
        ("no address", None),
    ] {
        assert_eq!(recognise(&["250 2.0.0 Ok: queued as 8A3C51E00F2"], address), expected, "{address}");
    }
}

#[test]
fn networks_do_not_overlap() {
    for [(lower, slug), (upper, upper_slug)] in RULES.networks.array_windows() {
        // A network that overlapped a later one would contain the first address of the next one.
        assert!(!lower.contains(upper.first()), "{slug} {upper_slug}: {upper:?}");
    }
}

#[test]
fn text_comes_before_the_address_and_the_first_text_before_the_second() {
    let (google, microsoft) = ("250 OK x - gsmtp", "550 x mail.protection.outlook.com");
    assert_eq!(recognise(&[google, microsoft], ""), Some("google-workspace"));
    assert_eq!(recognise(&["250 ok", microsoft], ""), Some("microsoft-365"));
    assert_eq!(recognise(&[google], "40.107.1.2"), Some("google-workspace"));
    assert_eq!(recognise(&["250 ok"], "40.107.1.2"), Some("microsoft-365"));
}

#[test]
fn gateway_in_front_of_a_mailbox_wins() {
    // A gateway that hands over to Microsoft while the sender waits passes its refusal on.
    let relayed = "smtp; 550 permanent failure for one or more recipients (ann@shop.example:550 5.4.1 Access denied \
                   [AM3PEPF0000A4711.eurprd04.prod.protection.outlook.com])";
    assert_eq!(recognise(&[relayed], ""), Some("barracuda"));
}
