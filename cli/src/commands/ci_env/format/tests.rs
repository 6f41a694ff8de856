use super::*;

fn variables(user: &str, password: &str) -> Result<Variables, Failure> {
    let prefix = GetImagePrefixResponse {
        registry_url: "https://proxy.example:8443".into(),
        server: "proxy.example:8443".into(),
        group_image_prefix: "proxy.example:8443/acme/dependency_proxy/containers".into(),
        direct_group_image_prefix: "proxy.example:8443/acme/backend/dependency_proxy/containers".into(),
    };
    let token = CreateJobTokenResponse { username: user.into(), token: password.into(), ..Default::default() };
    Variables::new(&prefix, &token)
}

#[test]
fn each_format_is_what_its_reader_takes() {
    let variables = variables("job-1", "rs_job_x").unwrap();
    let lines = "CI_DEPENDENCY_PROXY_SERVER=proxy.example:8443\n\
         CI_DEPENDENCY_PROXY_USER=job-1\n\
         CI_DEPENDENCY_PROXY_PASSWORD=rs_job_x\n\
         CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX=proxy.example:8443/acme/dependency_proxy/containers\n\
         CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX=proxy.example:8443/acme/backend/dependency_proxy/containers\n";
    assert_eq!(variables.written(CiFormat::Dotenv), lines);
    assert_eq!(variables.written(CiFormat::Github), lines);
    assert_eq!(variables.mask(CiFormat::Github).as_deref(), Some("::add-mask::rs_job_x"));
    assert_eq!(variables.mask(CiFormat::Shell), None);
    assert_eq!(
        variables.written(CiFormat::Shell),
        "export CI_DEPENDENCY_PROXY_SERVER='proxy.example:8443'\n\
         export CI_DEPENDENCY_PROXY_USER='job-1'\n\
         export CI_DEPENDENCY_PROXY_PASSWORD='rs_job_x'\n\
         export CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX='proxy.example:8443/acme/dependency_proxy/containers'\n\
         export CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX='proxy.example:8443/acme/backend/dependency_proxy/containers'\n"
    );
    assert_eq!(
        variables.written(CiFormat::Gitlab),
        "variables:\n  \
         CI_DEPENDENCY_PROXY_SERVER: \"proxy.example:8443\"\n  \
         CI_DEPENDENCY_PROXY_USER: \"job-1\"\n  \
         CI_DEPENDENCY_PROXY_PASSWORD: \"rs_job_x\"\n  \
         CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX: \"proxy.example:8443/acme/dependency_proxy/containers\"\n  \
         CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX: \"proxy.example:8443/acme/backend/dependency_proxy/containers\"\n"
    );
    let json: serde_json::Value = serde_json::from_str(&variables.json().unwrap()).unwrap();
    assert_eq!(json["CI_DEPENDENCY_PROXY_PASSWORD"], "rs_job_x");
    assert_eq!(json.as_object().unwrap().len(), 5);
}

#[test]
fn values_cannot_break_out_of_their_quotes() {
    let odd = variables("a'b", "c\"$d%e").unwrap();
    let shell = odd.written(CiFormat::Shell);
    assert!(shell.contains("_USER='a'\\''b'\n") && shell.contains("_PASSWORD='c\"$d%e'\n"), "{shell}");
    assert!(odd.written(CiFormat::Gitlab).contains("_PASSWORD: \"c\\\"$$d%e\"\n"));
    assert_eq!(odd.mask(CiFormat::Github).as_deref(), Some("::add-mask::c\"$d%25e"));
    for bad in ["", "a\nPATH=/tmp", "a\r"] {
        let failure = variables("job-1", bad).err().unwrap();
        assert!(failure.to_string().ends_with("no usable value for CI_DEPENDENCY_PROXY_PASSWORD"), "{failure}");
    }
}
