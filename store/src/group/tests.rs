//! Groups by table.
