//! A provider that is reached over TLS, whose certificate is of an authority of its own.

use mainstay_e2e::tls::{Authority, Identity};

use super::*;

impl Provider {
    fn over_tls(callback: &str, identity: &Identity) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        identity.write(folder.path(), "provider");
        let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        Self::start_with("https", callback, &[file("provider.pem"), file("provider.key")])
    }
}

/// The node's secret and codes go to nobody whom no authority speaks for.
#[test]
fn a_provider_over_tls_is_believed_only_with_the_authority_that_is_configured() {
    let (own, other) = (Authority::new("Provider CA"), Authority::new("Other CA"));
    let identity = own.issue(&[&free().ip().to_string()]);
    let (mut gateway, provider, origin) = node(|callback| {
        let provider = Provider::over_tls(callback, &identity);
        let issuer = provider.issuer.clone();
        (provider, issuer)
    });
    let at = gateway.admin_address();
    let begin = |browser: &mut Browser| browser.ask(&format!("http://{at}/api/v1/session/oidc"), "GET", "");
    let refused = |gateway: &Mainstay, last: u8| {
        assert_eq!(begin(&mut Browser::new(last)).status, 502);
        mainstay_e2e::eventually("the log says why", Duration::from_secs(60), || {
            let log = gateway.stderr().to_ascii_lowercase();
            log.contains(".well-known/openid-configuration") && log.contains("certificate")
        });
    };
    // With the authorities of the system alone.
    refused(&gateway, 70);
    let settings = |gateway: &Mainstay, authority: &Authority| {
        std::fs::write(gateway.dir().join("provider-ca.pem"), authority.pem()).expect("written");
        config(origin.address(), &provider.issuer, at).replace("client_id", "ca = \"provider-ca.pem\"\nclient_id")
    };
    gateway.write_config(&settings(&gateway, &other));
    gateway.kill_and_restart();
    refused(&gateway, 71);

    gateway.write_config(&settings(&gateway, &own));
    gateway.kill_and_restart();
    let mut browser = Browser { trust: vec![own.pem()], ..Browser::new(72) };
    let back = browser.log_in(at, "jane");
    let welcome = browser.ask(&back, "GET", "");
    assert_eq!((welcome.status, browser.cookie("mainstay_session").is_some()), (200, true), "{}", welcome.text());
}
