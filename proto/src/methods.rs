//! The facts that the contract states about each RPC as options: read from the descriptors when the crate is built, so that
//! nothing keeps a list of its own.

/// The safety of repeating a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// A repeated call may do something twice, or answer differently.
    Unknown,
    /// The call only reads.
    NoSideEffects,
    /// A repeated call leaves everything as the first one did.
    Idempotent,
}

/// An RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// The path that it is called by: `/roadstead.v1.GroupService/GetGroup`.
    pub path: &'static str,
    /// The safety of repeating it.
    pub idempotency: Idempotency,
    /// True if one side sends a stream of messages.
    pub streams: bool,
    /// The action under which the audit log records it; `None` for RPCs that only read, and for those of nodes.
    pub audit_action: Option<&'static str>,
}

include!(concat!(env!("OUT_DIR"), "/methods.rs"));

impl Method {
    /// Returns every RPC, in the order of their paths.
    pub const fn all() -> &'static [Self] {
        METHODS
    }

    /// Returns the RPC with this path.
    pub fn by_path(path: &str) -> Option<&'static Self> {
        METHODS.binary_search_by(|method| method.path.cmp(path)).ok().map(|index| &METHODS[index])
    }

    /// True if the call may be repeated even if it may have been carried out already. Streams never may: part of their
    /// messages has been read.
    pub const fn may_repeat(&self) -> bool {
        !self.streams && !matches!(self.idempotency, Idempotency::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(path: &str) -> Method {
        *Method::by_path(path).unwrap()
    }

    #[test]
    fn every_call_is_found_by_its_path() {
        for known in Method::all() {
            assert_eq!(Method::by_path(known.path), Some(known));
        }
        assert_eq!(Method::by_path("/roadstead.v1.GroupService/Nothing"), None);
        assert_eq!(Method::by_path("/grpc.health.v1.Health/Check"), None);
    }

    #[test]
    fn every_call_of_users_either_reads_or_is_audited() {
        for method in Method::all().iter().filter(|method| method.path.starts_with("/roadstead.v1.")) {
            let call = method.path.rsplit('/').next().unwrap();
            let reads = call.starts_with("Get") || call.starts_with("List");
            assert_eq!(method.idempotency == Idempotency::NoSideEffects, reads, "{}", method.path);
            assert_eq!(method.audit_action.is_none(), reads, "{}", method.path);
        }
    }

    #[test]
    fn a_call_that_hands_something_out_once_or_adds_up_is_never_repeated() {
        for call in ["Watch", "ClaimGarbage", "ClaimJob", "ReportJob", "ClaimScrub"] {
            assert!(!method(&format!("/roadstead.node.v1.NodeService/{call}")).may_repeat(), "{call}");
        }
        for call in ["SignIn", "GetLinks", "RecordUsage", "RecordLink", "RecordLinks", "ReportTag", "AcquireFill"] {
            assert!(method(&format!("/roadstead.node.v1.NodeService/{call}")).may_repeat(), "{call}");
        }
        assert!(!method("/roadstead.v1.CacheService/PurgeCache").may_repeat());
        assert!(method("/roadstead.v1.GroupService/GetGroup").may_repeat());
    }
}
