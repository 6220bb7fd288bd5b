import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.HexFormat;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * Logs in, creates an identity, signs the hash of a text and verifies the signature, with nothing but the JDK.
 *
 * <p>java FirstSignature.java URL client.jks PASSWORD server-ca.crt credentials.json identity.json
 */
public class FirstSignature {
    private static final String JSON = "application/json;charset=utf-8";
    private static HttpClient client;
    private static String url;

    public static void main(String[] arguments) throws Exception {
        url = arguments[0];
        client = HttpClient.newBuilder().sslContext(context(arguments[1], arguments[2], arguments[3])).build();

        String token = member(call("POST", "/login", null, Files.readString(Path.of(arguments[4]))), "access_token");
        String identity = call("POST", "/identity", token, Files.readString(Path.of(arguments[5])));

        byte[] text = "a contract".getBytes(StandardCharsets.UTF_8);
        String digest = HexFormat.of().withUpperCase().formatHex(MessageDigest.getInstance("SHA-256").digest(text));
        String signed = call("GET", "/identity/" + member(identity, "id") + "/sign/" + digest, token, null);

        Signature verifier = Signature.getInstance("SHA256withRSA");
        verifier.initVerify(certificate(member(identity, "signing_cert")));
        verifier.update(text);
        if (!verifier.verify(HexFormat.of().parseHex(member(signed, "signature").toLowerCase()))) {
            throw new IllegalStateException("the signature does not verify");
        }
        System.out.println("signature verified");
    }

    private static SSLContext context(String store, String password, String serverCa) throws Exception {
        KeyStore keys = KeyStore.getInstance("JKS");
        try (InputStream file = Files.newInputStream(Path.of(store))) {
            keys.load(file, password.toCharArray());
        }
        KeyManagerFactory own = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        own.init(keys, password.toCharArray());

        KeyStore anchors = KeyStore.getInstance(KeyStore.getDefaultType());
        anchors.load(null, null);
        anchors.setCertificateEntry("server", certificate(Files.readString(Path.of(serverCa))));
        TrustManagerFactory trusted = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trusted.init(anchors);

        SSLContext context = SSLContext.getInstance("TLS");
        context.init(own.getKeyManagers(), trusted.getTrustManagers(), null);
        return context;
    }

    private static Certificate certificate(String pem) throws Exception {
        byte[] bytes = pem.getBytes(StandardCharsets.US_ASCII);
        return CertificateFactory.getInstance("X.509").generateCertificate(new java.io.ByteArrayInputStream(bytes));
    }

    private static String call(String method, String path, String token, String body) throws Exception {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url + path)).header("Content-Type", JSON);
        if (token != null) {
            request.header("Authorization", "Bearer " + token);
        }
        request.method(
                method,
                body == null ? HttpRequest.BodyPublishers.noBody() : HttpRequest.BodyPublishers.ofString(body));
        HttpResponse<String> answer = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
            throw new IllegalStateException(path + ": " + answer.statusCode() + " " + answer.body());
        }
        return answer.body();
    }

    /** Returns a string member of a flat JSON object. */
    private static String member(String json, String name) {
        Matcher found = Pattern.compile("\"" + name + "\":\"([^\"]*)\"").matcher(json);
        if (!found.find()) {
            throw new IllegalStateException("no " + name + " in the answer");
        }
        return found.group(1).replace("\\n", "\n");
    }
}
