//! The document and the routes are the same.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::json;

use super::kit::Shop;

const DOCUMENT: &str = include_str!("../../openapi.yaml");
const METHODS: [Method; 5] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Returns the paths of the document with their methods. A path is indented by two spaces, a method by four.
fn documented() -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut paths: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut path = None;
    for line in DOCUMENT.lines() {
        let Some(line) = line.strip_prefix("  ") else { continue };
        if line.starts_with('/') {
            path = line.strip_suffix(':');
        } else if let (Some(path), Some(key)) = (path, line.strip_prefix("  "))
            && let Some(key) = key.strip_suffix(':')
        {
            let method = METHODS.iter().find(|one| one.as_str().eq_ignore_ascii_case(key));
            let methods = paths.entry(path).or_default();
            methods.extend(method.map(Method::to_string));
        }
    }
    paths
}

#[tokio::test]
async fn the_document_has_each_route_with_its_methods_and_no_other() {
    let documented = documented();
    let paths: BTreeSet<&str> = orders::http::paths().into_iter().collect();
    assert_eq!(documented.keys().copied().collect::<BTreeSet<_>>(), paths);
    let shop = Shop::open().await;
    for (path, methods) in documented {
        assert!(!methods.is_empty(), "{path} has no methods");
        let url = path.replace("{tenant}", "acme").replace(['{', '}'], "");
        for method in METHODS {
            let answer = shop.send(method.clone(), &url, None, json!({})).await;
            let is_served = answer.status != 405;
            assert_eq!(methods.contains(method.as_str()), is_served, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_document_is_served() {
    let shop = Shop::open().await;
    assert_eq!(shop.see("/openapi.yaml").await, DOCUMENT);
}
