//! The DynamoDB store against a local AWS: the contract of all stores, also while calls fail, and behaviour specific to DynamoDB.
//!
//! A minimal HTTP server imitates what a local AWS never does, such as leaving items unprocessed.

#![allow(clippy::disallowed_methods, reason = "the test starts a local AWS and opens sockets")]
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails, and a test program has no outside"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use adapters::aws::dynamodb::DynamoStore;
use aws_config::{Region, SdkConfig};
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use event::Timestamp;
use pipeline::ports::{Expected, Item, Key, PutError, Store as _};
use pipeline::testing::contract;

use crate::python::{python, root};

#[path = "../../../tests/python.rs"]
mod python;

/// The configuration of a Lambda function, except for endpoint and credentials.
async fn config(address: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    let provider = aws_sdk_dynamodb::config::SharedCredentialsProvider::new(credentials);
    let config = adapters::aws::config().await.into_builder();
    config.endpoint_url(address).region(Region::new("us-east-1")).credentials_provider(provider).build()
}

/// A local AWS behind a proxy that injects faults.
struct LocalAws {
    child: Child,
    faults: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    config: SdkConfig,
    _scratch: tempfile::TempDir,
}

impl LocalAws {
    async fn start() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut child = Command::new(python())
            .arg(root().join("tests/aws/store.py"))
            .arg(scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut address = String::new();
        answers.read_line(&mut address).unwrap();
        assert!(!address.is_empty(), "this test needs a local AWS, which did not start; it says why above");
        let config = config(address.trim()).await;
        Self { faults: child.stdin.take(), child, answers, config, _scratch: scratch }
    }

    /// An empty table of that name.
    async fn table(&self, name: &str) -> DynamoStore {
        let text = |name: &str| {
            let attribute = AttributeDefinition::builder().attribute_name(name);
            attribute.attribute_type(ScalarAttributeType::S).build().unwrap()
        };
        let key = |name: &str, kind| {
            KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
        };
        aws_sdk_dynamodb::Client::new(&self.config)
            .create_table()
            .table_name(name)
            .set_attribute_definitions(Some(vec![text("pk"), text("sk")]))
            .set_key_schema(Some(vec![key("pk", KeyType::Hash), key("sk", KeyType::Range)]))
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .unwrap();
        DynamoStore::new(&self.config, name.to_owned())
    }

    /// Injects these faults from now on, and returns how many of the previous ones were injected.
    fn faults(&mut self, rules: &str) -> u32 {
        writeln!(self.faults.as_ref().unwrap(), "{rules}").unwrap();
        let mut fired = String::new();
        self.answers.read_line(&mut fired).unwrap();
        fired.trim().parse().unwrap()
    }
}

impl Drop for LocalAws {
    fn drop(&mut self) {
        // Closing its input stops it and everything that it started. Its folder is removed only after that.
        drop(self.faults.take());
        let _ = self.child.wait();
    }
}

/// A server that sends these replies, one per connection, and reports the requests.
fn scripted_server(replies: Vec<String>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (requests, received) = channel();
    std::thread::spawn(move || {
        for reply in replies {
            let mut request = BufReader::new(listener.accept().unwrap().0);
            let mut length = 0;
            let mut line = String::new();
            while request.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            request.read_exact(&mut body).unwrap();
            requests.send(String::from_utf8(body).unwrap()).unwrap();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\nconnection: close";
            write!(request.get_mut(), "{head}\r\ncontent-length: {}\r\n\r\n{reply}", reply.len()).unwrap();
        }
    });
    (address, received)
}

fn key(sort: &str) -> Key {
    Key { partition: "p".to_owned(), sort: sort.to_owned() }
}

fn item(sort: &str, version: u64) -> Item {
    Item { key: key(sort), body: b"body".to_vec(), version, expires_at: None }
}

#[tokio::test]
async fn dynamodb_fulfils_the_contract_also_while_calls_fail() {
    let mut aws = LocalAws::start().await;
    contract::holds(&aws.table("undisturbed").await).await.unwrap();
    let faults = [
        r#"{"operation":"BatchWriteItem","times":2,"error":{"code":"ProvisionedThroughputExceededException"}}"#,
        r#"{"operation":"PutItem","times":2,"error":{"code":"ThrottlingException"}}"#,
        r#"{"operation":"Query","times":2,"error":{"code":"InternalServerError","status":500}}"#,
        r#"{"operation":"BatchGetItem","times":2,"reset":true}"#,
        r#"{"operation":"BatchWriteItem","times":2,"response":{"abort_bytes":0}}"#,
        r#"{"operation":"PutItem","times":2,"response":{"abort_bytes":0}}"#,
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let table = aws.table(&format!("disturbed-{number}")).await;
        aws.faults(&format!("[{fault}]"));
        contract::holds(&table).await.unwrap_or_else(|error| panic!("{fault}: {error:?}"));
        assert_eq!(aws.faults("[]"), 2, "{fault} fired");
    }
}

#[tokio::test]
async fn conditional_write_whose_reply_is_lost_is_recognised_by_its_item() {
    const LOST: &str = r#"[{"operation":"PutItem","times":1,"response":{"abort_bytes":0}}]"#;
    let mut aws = LocalAws::start().await;
    let table = aws.table("conditional").await;
    // DynamoDB keeps whole seconds.
    let first = Item { expires_at: Some(Timestamp::from_millis(1_763_000_000_001)), ..item("a", 1) };
    aws.faults(LOST);
    table.put_if(first.clone(), Expected::Absent).await.unwrap();
    assert_eq!(aws.faults(LOST), 1);
    table.put_if(item("a", 2), Expected::Version(1)).await.unwrap();
    assert_eq!(aws.faults(LOST), 1);
    // The stored item is somebody else's: it differs, or it is equal but no reply was lost.
    for (other, fired) in [(Item { body: b"mine".to_vec(), ..item("a", 2) }, 1), (item("a", 2), 0)] {
        let refused = table.put_if(other, Expected::Version(1)).await;
        assert!(matches!(refused, Err(PutError::Conflict)), "{refused:?}");
        assert_eq!(aws.faults("[]"), fired);
    }
    assert_eq!(table.get(vec![key("a")]).await.unwrap(), [Some(item("a", 2))]);
}

#[tokio::test]
async fn only_unprocessed_writes_of_a_batch_are_sent_again() {
    let left =
        r#"{"PutRequest":{"Item":{"pk":{"S":"p"},"sk":{"S":"left"},"body":{"B":""},"version":{"N":"0"}}}}"#;
    let undone = format!(r#"{{"UnprocessedItems":{{"t":[{left}]}}}}"#);
    let (address, asked) = scripted_server(vec![undone.clone(), undone, "{}".to_owned()]);
    let store = DynamoStore::new(&config(&address).await, "t".to_owned());
    store.put(vec![item("done", 0), item("left", 0)]).await.unwrap();
    let asked: Vec<String> = asked.iter().collect();
    let requests_with = |name: &str| asked.iter().map(|body| body.contains(name)).collect::<Vec<_>>();
    assert_eq!(
        (requests_with("\"done\""), requests_with("\"left\"")),
        (vec![true, false, false], vec![true; 3])
    );
}

#[tokio::test]
async fn only_unprocessed_reads_of_a_batch_are_requested_again() {
    let found = |sort: &str| {
        format!(
            r#"{{"pk":{{"S":"p"}},"sk":{{"S":"{sort}"}},"body":{{"B":"Ym9keQ=="}},"version":{{"N":"0"}}}}"#
        )
    };
    let half = format!(
        r#"{{"Responses":{{"t":[{}]}},"UnprocessedKeys":{{"t":{{"Keys":[{{"pk":{{"S":"p"}},"sk":{{"S":"left"}}}}]}}}}}}"#,
        found("done")
    );
    let rest = format!(r#"{{"Responses":{{"t":[{}]}}}}"#, found("left"));
    let (address, asked) = scripted_server(vec![half, rest]);
    let store = DynamoStore::new(&config(&address).await, "t".to_owned());
    let got = store.get(vec![key("left"), key("missing"), key("done")]).await.unwrap();
    assert_eq!(got, [Some(item("left", 0)), None, Some(item("done", 0))]);
    let asked: Vec<String> = asked.iter().collect();
    assert!(asked.iter().all(|body| body.contains("\"ConsistentRead\":true")), "{asked:?}");
    assert!(asked[1].contains("left") && !asked[1].contains("done"), "{asked:?}");
}
