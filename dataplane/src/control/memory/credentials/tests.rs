use super::*;

#[test]
fn a_credential_is_remembered_for_its_epoch_only() {
    let memory = CredentialMemory::default();
    let (group, host) = (GroupId::from("g1"), "ghcr.io".parse().unwrap());
    memory.put(&group, &host, 3, Some(Arc::new(Credential::new("ci".to_owned(), "s3cret".into()))));
    assert!(memory.get(&group, &host, 3).is_some_and(|known| known.is_some()));
    assert!(memory.get(&group, &host, 4).is_none());
    memory.put(&group, &host, 4, None);
    assert!(memory.get(&group, &host, 4).is_some_and(|known| known.is_none()));
}
