//! Read models in Redis, each below a prefix of its own, with their bookmarks beside them.
