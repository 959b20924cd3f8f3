//! What `lockside check` says of a sheet.
