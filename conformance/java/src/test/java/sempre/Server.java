package sempre;

import java.io.BufferedReader;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** The server under test on a free port, started by the line of Temporal's test server; stopped by {@link #close}. */
final class Server implements AutoCloseable {
  private final Process process;
  final String target;

  Server(String... more) throws IOException {
    String binary = System.getenv("SEMPRE_BIN");
    if (binary == null) {
      throw new IllegalStateException("SEMPRE_BIN names no binary: run conformance/run-java");
    }
    List<String> line = new ArrayList<>(List.of(binary, "0"));
    line.addAll(Arrays.asList(more));
    process = new ProcessBuilder(line).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    target = told(process.inputReader());
  }

  /** Where it listens, as it says itself. */
  private static String told(BufferedReader lines) throws IOException {
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      if (line.startsWith("Server:")) {
        return line.substring("Server:".length()).strip();
      }
    }
    throw new IOException("the server ended without saying where it listens");
  }

  @Override
  public void close() throws InterruptedException {
    process.destroy();
    process.waitFor();
  }
}
