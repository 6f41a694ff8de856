//! The violations of a request, field by field.

/// One field that cannot be as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, by its name in the request.
    pub field: String,
    /// The requirement, for a person.
    pub message: String,
}

impl Violation {
    /// Says `message` of `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}
