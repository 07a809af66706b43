//! The name of an account: `ann`, or `acme/ann` at the tenant `acme`.

use std::fmt;
use std::str::FromStr;

use quorate_client::StreamName;

use crate::account::CATEGORY;

/// The name of an account, with its tenant if there is one.
///
/// Invariant: the account's stream has a valid name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName {
    tenant: String,
    id: String,
}

/// The text is no name of an account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no account: write `ann`, or `acme/ann` for the account of a tenant")]
pub struct NoAccount(String);

impl AccountName {
    /// Returns the tenant; empty if there is none.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Returns the id at the tenant.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the account's stream.
    pub fn stream(&self) -> String {
        match self.tenant.as_str() {
            "" => format!("{CATEGORY}-{}", self.id),
            tenant => format!("{tenant}/{CATEGORY}-{}", self.id),
        }
    }

    /// Returns the account of a stream, if it is one's.
    pub fn of_stream(stream: &StreamName) -> Option<AccountName> {
        let (tenant, name) = stream.as_str().rsplit_once('/').unwrap_or(("", stream.as_str()));
        let id = name.strip_prefix(CATEGORY)?.strip_prefix('-')?;
        Some(AccountName { tenant: tenant.to_owned(), id: id.to_owned() })
    }
}

impl FromStr for AccountName {
    type Err = NoAccount;

    fn from_str(text: &str) -> Result<AccountName, NoAccount> {
        let (tenant, id) = text.rsplit_once('/').unwrap_or(("", text));
        let name = AccountName { tenant: tenant.to_owned(), id: id.to_owned() };
        let is_whole = !id.is_empty() && !text.starts_with('/');
        match StreamName::new(name.stream()) {
            Ok(_) if is_whole => Ok(name),
            _ => Err(NoAccount(text.to_owned())),
        }
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tenant.as_str() {
            "" => f.write_str(&self.id),
            tenant => write!(f, "{tenant}/{}", self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_the_stream_and_back() {
        for (text, stream) in [("ann", "account-ann"), ("acme/ann-2", "acme/account-ann-2")] {
            let name: AccountName = text.parse().expect("a name");
            assert_eq!((name.to_string().as_str(), name.stream().as_str()), (text, stream));
            let stream = StreamName::new(stream).expect("a name");
            assert_eq!(AccountName::of_stream(&stream), Some(name));
        }
        for text in ["", "acme/", "/ann", "a\nb"] {
            assert_eq!(text.parse::<AccountName>(), Err(NoAccount(text.to_owned())));
        }
        let order = StreamName::new("order-1").expect("a name");
        assert_eq!(AccountName::of_stream(&order), None);
    }
}
