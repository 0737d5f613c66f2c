// One node of Elasticsearch 8.17 with security from the archive of its own integration tests, for tests.
//
// As Launcher.java, but the archive has its modules as plugins, which a node loads itself. The user is elastic, the password
// changeme. Beside it StandIn.java gives the analysis that the archive lacks.

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.KeyStoreWrapper;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;

/** {@code Launcher8 HOME [setting=value]...}; properties of the JVM: {@code naru.archive}, {@code naru.once}, {@code naru.held}. */
public final class Launcher8 {
    public static void main(String[] arguments) throws Exception {
        Path home = Path.of(arguments[0]).toAbsolutePath();
        // Files that settings name have to lie here.
        Path config = Files.createDirectories(home.resolve("config"));
        KeyStoreWrapper secrets = KeyStoreWrapper.create();
        secrets.setString("bootstrap.password", "changeme".toCharArray());
        Settings.Builder settings = Settings.builder()
            .put("path.home", System.getProperty("naru.archive"))
            .put("path.data", home.resolve("data").toString())
            .put("path.logs", Files.createDirectories(home.resolve("logs")).toString())
            .put("cluster.name", "naru-integration")
            .put("node.name", "node-0")
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("transport.port", "0")
            .put("xpack.security.enabled", "true")
            .put("xpack.security.enrollment.enabled", "false")
            .put("xpack.security.transport.ssl.enabled", "false")
            .put("xpack.license.self_generated.type", "basic")
            // A developer's disk that is nearly full must not make the indices read-only.
            .put("cluster.routing.allocation.disk.threshold_enabled", "false");
        for (String argument : List.of(arguments).subList(1, arguments.length)) {
            String[] pair = argument.split("=", 2);
            settings.put(pair[0], pair[1]);
        }
        settings.setSecureSettings(secrets);
        LogConfigurator.registerErrorListener();
        LogConfigurator.setNodeName("node-0");
        LogConfigurator.configureWithoutConfig(Settings.builder().put("logger.level", "INFO").build());
        LogConfigurator.configureESLogging();
        Environment environment = InternalSettingsPreparer.prepareEnvironment(
            settings.build(), Map.of(), config, () -> "node-0");
        Node node = new Node(environment);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
            } catch (Exception exception) {
                exception.printStackTrace();
            }
        }));
        node.start();
        if (Boolean.getBoolean("naru.once")) {
            System.exit(0);
        }
        if (Boolean.getBoolean("naru.held")) {
            // Whoever holds the other end of stdin has ended, in whatever way: no orphan stays.
            System.in.transferTo(java.io.OutputStream.nullOutputStream());
            Runtime.getRuntime().halt(1);
        }
        Thread.currentThread().join();
    }
}
