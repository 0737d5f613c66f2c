// A plugin for Elasticsearch 8.17: the archive of its integration tests has no analysis module. What Naru's template asks for
// is here as the module has it; what the index of API keys and service tokens names is there and does nothing.

package naru;

import java.util.Map;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.core.WhitespaceTokenizer;
import org.apache.lucene.analysis.miscellaneous.TruncateTokenFilter;
import org.apache.lucene.analysis.pattern.PatternTokenizer;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;

public final class StandIn extends Plugin implements AnalysisPlugin {
    @Override
    public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
        return Map.of(
            "truncate", (index, environment, name, settings) -> {
                int length = settings.getAsInt("length", 255);
                return filter(name, tokens -> new TruncateTokenFilter(tokens, length));
            },
            "pattern_capture", (index, environment, name, settings) -> filter(name, UnaryOperator.identity()),
            "unique", (index, environment, name, settings) -> filter(name, UnaryOperator.identity()));
    }

    @Override
    public Map<String, AnalysisProvider<TokenizerFactory>> getTokenizers() {
        return Map.of(
            "pattern", (index, environment, name, settings) -> {
                Pattern pattern = Pattern.compile(settings.get("pattern", "\\W+"));
                int group = settings.getAsInt("group", -1);
                return TokenizerFactory.newFactory(name, () -> new PatternTokenizer(pattern, group));
            },
            "uax_url_email",
            (index, environment, name, settings) -> TokenizerFactory.newFactory(name, WhitespaceTokenizer::new));
    }

    private static TokenFilterFactory filter(String called, UnaryOperator<TokenStream> filter) {
        return new TokenFilterFactory() {
            @Override
            public String name() {
                return called;
            }

            @Override
            public TokenStream create(TokenStream tokens) {
                return filter.apply(tokens);
            }
        };
    }
}
