// One node of Elasticsearch 7.10 from jars on the class path, for tests.
//
// It does what the server's own start script leads to, without the parts that are for production: no bootstrap checks,
// no security manager, no refusal to run as root. OpenSearch 2 has the same classes under another package name, so node
// compiles this file for it with that name replaced.

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.Plugin;

/** {@code Launcher HOME [setting=value]...}; properties of the JVM: {@code naru.once}, {@code naru.held}. */
public final class Launcher {
    /** What the plain distribution has in modules/. */
    private static final List<Class<? extends Plugin>> MODULES = List.of(
        org.elasticsearch.analysis.common.CommonAnalysisPlugin.class,
        org.elasticsearch.index.mapper.MapperExtrasPlugin.class,
        org.elasticsearch.index.rankeval.RankEvalPlugin.class,
        org.elasticsearch.index.reindex.ReindexPlugin.class,
        org.elasticsearch.ingest.common.IngestCommonPlugin.class,
        org.elasticsearch.ingest.useragent.IngestUserAgentPlugin.class,
        org.elasticsearch.join.ParentJoinPlugin.class,
        org.elasticsearch.painless.PainlessPlugin.class,
        org.elasticsearch.percolator.PercolatorPlugin.class,
        org.elasticsearch.script.expression.ExpressionPlugin.class,
        org.elasticsearch.script.mustache.MustachePlugin.class,
        org.elasticsearch.search.aggregations.matrix.MatrixAggregationPlugin.class,
        org.elasticsearch.transport.Netty4Plugin.class);

    /** Its constructor that takes plugins as classes is for subclasses only. */
    private static final class OfClasses extends Node {
        OfClasses(Environment environment) {
            super(environment, MODULES, true);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Path home = Path.of(arguments[0]).toAbsolutePath();
        Path config = Files.createDirectories(home.resolve("config"));
        Settings.Builder settings = Settings.builder()
            .put("path.home", home.toString())
            .put("cluster.name", "naru-integration")
            .put("node.name", "node-0")
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("transport.port", "0")
            .put("http.type", "netty4")
            .put("transport.type", "netty4")
            // A developer's disk that is nearly full must not make the indices read-only.
            .put("cluster.routing.allocation.disk.threshold_enabled", "false");
        for (String argument : List.of(arguments).subList(1, arguments.length)) {
            String[] pair = argument.split("=", 2);
            settings.put(pair[0], pair[1]);
        }
        Environment environment = InternalSettingsPreparer.prepareEnvironment(
            settings.build(), Map.of(), config, () -> "node-0");
        Files.createDirectories(environment.logsFile());
        Node node = new OfClasses(environment);
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
