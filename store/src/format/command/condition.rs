//! The conditions of an append within a command.

use quorate_proto::{
    Category, Condition, CorrelationId, EventType, Path, Position, Query, QueryItem, Scope,
    StreamName, Tag,
};

use crate::format::bytes::Buffer;
use crate::format::{Input, Malformed, Output};

const EVERYWHERE: u8 = 0;
const STREAM: u8 = 1;
const CATEGORY: u8 = 2;
const PATH: u8 = 3;

pub(super) fn encode(conditions: &[Condition], out: &mut Vec<u8>) {
    out.put_varint(conditions.len() as u64);
    for Condition { query, after } in conditions {
        out.put_u64(after.0);
        put_query(query, out);
    }
}

pub(super) fn take(input: &mut Input<impl Buffer>) -> Result<Vec<Condition>, Malformed> {
    take_list(input, |input| {
        let after = Position(input.u64()?);
        Ok(Condition { query: take_query(input)?, after })
    })
}

pub(in crate::format) fn put_query(query: &Query, out: &mut Vec<u8>) {
    out.put_varint(query.items.len() as u64);
    for item in &query.items {
        put_item(item, out);
    }
}

pub(in crate::format) fn take_query(input: &mut Input<impl Buffer>) -> Result<Query, Malformed> {
    take_list(input, take_item).map(|items| Query { items })
}

fn put_item(item: &QueryItem, out: &mut Vec<u8>) {
    let kind = match &item.scope {
        None => EVERYWHERE,
        Some(Scope::Stream(_)) => STREAM,
        Some(Scope::Category(_)) => CATEGORY,
        Some(Scope::Path(_)) => PATH,
    };
    out.put_u8(kind);
    if let Some(scope) = &item.scope {
        out.put_short(scope.as_str().as_bytes());
    }
    out.put_varint(item.types.len() as u64);
    for kind in &item.types {
        out.put_short(kind.as_str().as_bytes());
    }
    out.put_varint(item.tags.len() as u64);
    for tag in &item.tags {
        out.put_short(tag.as_str().as_bytes());
    }
    out.put_short(item.correlation.as_ref().map_or("", CorrelationId::as_str).as_bytes());
}

fn take_item(input: &mut Input<impl Buffer>) -> Result<QueryItem, Malformed> {
    let scope = take_scope(input)?;
    let types =
        take_list(input, |input| EventType::new(input.short_text()?).map_err(Malformed::invalid))?;
    let tags = take_list(input, |input| Tag::new(input.short_text()?).map_err(Malformed::invalid))?;
    let correlation = Some(input.short_text()?).filter(|id| !id.is_empty());
    let correlation =
        correlation.map(CorrelationId::new).transpose().map_err(Malformed::invalid)?;
    Ok(QueryItem { scope, types, tags, correlation })
}

fn take_scope(input: &mut Input<impl Buffer>) -> Result<Option<Scope>, Malformed> {
    let kind = input.u8()?;
    if kind == EVERYWHERE {
        return Ok(None);
    }
    let name = input.short_text()?;
    let scope = match kind {
        STREAM => StreamName::new(name).map(Scope::Stream),
        CATEGORY => Category::new(name).map(Scope::Category),
        PATH => Path::new(name).map(Scope::Path),
        _ => return Err(Malformed::new(format!("a scope has the unknown kind {kind}"))),
    };
    scope.map(Some).map_err(Malformed::invalid)
}

fn take_list<B: Buffer, T>(
    input: &mut Input<B>,
    mut take: impl FnMut(&mut Input<B>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = input.varint()?;
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(take(input)?);
    }
    Ok(list)
}
