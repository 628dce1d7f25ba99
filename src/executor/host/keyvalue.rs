//! `wasi:keyvalue`: the job's own namespace. Every call is a question to whoever keeps it.

use wasmtime::component::{HasData, Resource, ResourceTable};

use super::bindings::keyvalue::{atomics, store};
use crate::executor::outside::{Answer, Call, KeyValueCall, Outwards, Raw, Refusal};
use store::{Error, KeyResponse};

pub(in crate::executor) struct KeyValue<'a> {
    pub outwards: &'a Outwards,
    pub table: &'a mut ResourceTable,
}

/// The namespace, opened.
pub struct Bucket;

/// Of the one bucket; nothing means the same.
const NAME: &str = "default";

impl HasData for KeyValue<'static> {
    type Data<'a> = KeyValue<'a>;
}

type Told<T> = wasmtime::Result<Result<T, Error>>;

impl KeyValue<'_> {
    /// Only of a bucket that is open.
    async fn ask<T>(&mut self, bucket: &Resource<Bucket>, call: KeyValueCall, read: impl FnOnce(Answer) -> Option<T>) -> Told<T> {
        self.table.get(bucket)?;
        Ok(match self.outwards.ask(Call::KeyValue(call)).await {
            Ok(answer) => read(answer).ok_or_else(|| Error::Other("the answer is none to this call".to_owned())),
            Err(refusal) => Err(told(refusal)),
        })
    }
}

fn told(refusal: Refusal) -> Error {
    match refusal {
        Refusal::NotGranted => Error::AccessDenied,
        refusal => Error::Other(refusal.to_string()),
    }
}

fn done(answer: Answer) -> Option<()> {
    matches!(answer, Answer::Done).then_some(())
}

fn value(answer: Answer) -> Option<Option<Vec<u8>>> {
    if let Answer::Value(value) = answer { Some(value.map(|Raw(bytes)| bytes)) } else { None }
}

impl store::Host for KeyValue<'_> {
    async fn open(&mut self, identifier: String) -> Told<Resource<Bucket>> {
        if self.outwards.reach.kv.is_none() {
            return Ok(Err(Error::AccessDenied));
        }
        if !identifier.is_empty() && identifier != NAME {
            return Ok(Err(Error::NoSuchStore));
        }
        Ok(Ok(self.table.push(Bucket)?))
    }
}

impl store::HostBucket for KeyValue<'_> {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Told<Option<Vec<u8>>> {
        self.ask(&bucket, KeyValueCall::Get { key }, value).await
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Told<()> {
        self.ask(&bucket, KeyValueCall::Set { key, value: Raw(value) }, done).await
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Told<()> {
        self.ask(&bucket, KeyValueCall::Delete { key }, done).await
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Told<bool> {
        self.ask(&bucket, KeyValueCall::Get { key }, |answer| value(answer).map(|value| value.is_some())).await
    }

    async fn list_keys(&mut self, bucket: Resource<Bucket>, cursor: Option<u64>) -> Told<KeyResponse> {
        let read = |answer| if let Answer::Keys { keys, next } = answer { Some(KeyResponse { keys, cursor: next }) } else { None };
        self.ask(&bucket, KeyValueCall::List { after: cursor }, read).await
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for KeyValue<'_> {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: u64) -> Told<u64> {
        let read = |answer| if let Answer::Number(sum) = answer { Some(sum) } else { None };
        self.ask(&bucket, KeyValueCall::Add { key, delta }, read).await
    }
}
