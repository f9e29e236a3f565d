package sempre;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Empty;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.temporal.activity.Activity;
import io.temporal.activity.ActivityInterface;
import io.temporal.activity.ActivityOptions;
import io.temporal.api.testservice.v1.LockTimeSkippingRequest;
import io.temporal.api.testservice.v1.SleepRequest;
import io.temporal.api.testservice.v1.UnlockTimeSkippingRequest;
import io.temporal.client.WorkflowClient;
import io.temporal.client.WorkflowClientOptions;
import io.temporal.client.WorkflowException;
import io.temporal.client.WorkflowOptions;
import io.temporal.client.WorkflowStub;
import io.temporal.failure.TimeoutFailure;
import io.temporal.serviceclient.TestServiceStubs;
import io.temporal.serviceclient.TestServiceStubsOptions;
import io.temporal.serviceclient.WorkflowServiceStubs;
import io.temporal.serviceclient.WorkflowServiceStubsOptions;
import io.temporal.testing.TestEnvironmentOptions;
import io.temporal.testing.TestWorkflowEnvironment;
import io.temporal.worker.Worker;
import io.temporal.worker.WorkerFactory;
import io.temporal.workflow.SignalMethod;
import io.temporal.workflow.Workflow;
import io.temporal.workflow.WorkflowInterface;
import io.temporal.workflow.WorkflowMethod;
import java.time.Duration;
import java.time.Instant;
import java.util.UUID;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The Java SDK with Sempre as its test server: TestService called by hand, and the SDK's own environment with an external service. */
@Timeout(120)
class TimeSkippingTest {
  private static final Duration DAY = Duration.ofDays(1);
  private static final String QUEUE = "queue";

  @ActivityInterface
  public interface Bills {
    int bill(int month);
  }

  /** Fails twice, then works: what is between the attempts is skipped too. */
  public static final class BillsOfAll implements Bills {
    @Override
    public int bill(int month) {
      if (Activity.getExecutionContext().getInfo().getAttempt() < 3) {
        throw new IllegalStateException("not yet");
      }
      return month + 1;
    }
  }

  /** A bill every thirty days, and at the end of the year how many there were. */
  @WorkflowInterface
  public interface Year {
    @WorkflowMethod
    int run();
  }

  public static final class YearOfBills implements Year {
    private final Bills bills =
        Workflow.newActivityStub(Bills.class, ActivityOptions.newBuilder().setStartToCloseTimeout(Duration.ofMinutes(1)).build());

    @Override
    public int run() {
      int billed = 0;
      for (int month = 0; month < 12; month++) {
        Workflow.sleep(DAY.multipliedBy(30));
        billed = bills.bill(month);
      }
      Workflow.sleep(DAY.multipliedBy(5));
      return billed;
    }
  }

  /** Waits until it is told. */
  @WorkflowInterface
  public interface Waits {
    @WorkflowMethod
    String run();

    @SignalMethod
    void tell(String what);
  }

  public static final class WaitsForOne implements Waits {
    private String told;

    @Override
    public String run() {
      Workflow.await(() -> told != null);
      return told;
    }

    @Override
    public void tell(String what) {
      told = what;
    }
  }

  /** Clients of a server, and a worker. */
  private static final class World implements AutoCloseable {
    final WorkflowServiceStubs stubs;
    final TestServiceStubs time;
    final WorkflowClient client;
    final WorkerFactory workers;

    World(Server server, String namespace) {
      var options = WorkflowServiceStubsOptions.newBuilder().setTarget(server.target).build();
      stubs = WorkflowServiceStubs.newServiceStubs(options);
      time = TestServiceStubs.newServiceStubs(TestServiceStubsOptions.newBuilder().setTarget(server.target).validateAndBuildWithDefaults());
      client = WorkflowClient.newInstance(stubs, WorkflowClientOptions.newBuilder().setNamespace(namespace).build());
      workers = WorkerFactory.newInstance(client);
      register(workers.newWorker(QUEUE));
      workers.start();
    }

    Instant now() {
      var now = time.blockingStub().getCurrentTime(Empty.getDefaultInstance()).getTime();
      return Instant.ofEpochSecond(now.getSeconds(), now.getNanos());
    }

    @Override
    public void close() {
      workers.shutdownNow();
      stubs.shutdownNow();
      time.shutdownNow();
    }
  }

  private static void register(Worker worker) {
    worker.registerWorkflowImplementationTypes(YearOfBills.class, WaitsForOne.class);
    worker.registerActivitiesImplementations(new BillsOfAll());
  }

  private static WorkflowOptions.Builder options() {
    return WorkflowOptions.newBuilder().setTaskQueue(QUEUE).setWorkflowId(UUID.randomUUID().toString());
  }

  private static void assertAbout(Duration expected, Duration passed) {
    assertTrue(passed.compareTo(expected) >= 0 && passed.compareTo(expected.plus(DAY)) < 0, () -> passed + " instead of " + expected);
  }

  @Test
  void aYearPassesWhileTimeIsUnlockedAndNoneWhileItIsLocked() throws Exception {
    try (var server = new Server();
        var world = new World(server, "default")) {
      var begin = world.now();
      var year = WorkflowStub.fromTyped(world.client.newWorkflowStub(Year.class, options().build()));
      year.start();
      assertTrue(Duration.between(begin, world.now()).compareTo(DAY) < 0, "time is locked in the beginning");
      world.time.blockingStub().unlockTimeSkipping(UnlockTimeSkippingRequest.getDefaultInstance());
      assertEquals(12, year.getResult(Integer.class));
      world.time.blockingStub().lockTimeSkipping(LockTimeSkippingRequest.getDefaultInstance());
      assertAbout(DAY.multipliedBy(365), Duration.between(begin, world.now()));
    }
  }

  @Test
  void aSleepOfTheTestMovesTimeSoFarAndATimeoutIsMetInIt() throws Exception {
    try (var server = new Server();
        var world = new World(server, "default")) {
      var begin = world.now();
      var told = world.client.newWorkflowStub(Waits.class, options().build());
      WorkflowClient.start(told::run);
      var forgotten = world.client.newWorkflowStub(Waits.class, options().setWorkflowExecutionTimeout(DAY.multipliedBy(50)).build());
      WorkflowClient.start(forgotten::run);
      var sleep = SleepRequest.newBuilder().setDuration(com.google.protobuf.Duration.newBuilder().setSeconds(DAY.toSeconds() * 100));
      world.time.blockingStub().unlockTimeSkippingWithSleep(sleep.build());
      assertAbout(DAY.multipliedBy(100), Duration.between(begin, world.now()));
      told.tell("it is late");
      assertEquals("it is late", WorkflowStub.fromTyped(told).getResult(String.class));
      var ended = assertThrows(WorkflowException.class, () -> WorkflowStub.fromTyped(forgotten).getResult(String.class));
      assertTrue(ended.getCause() instanceof TimeoutFailure, () -> "it ended by " + ended.getCause());
    }
  }

  @Test
  void anUnlockTooManyIsRefused() throws Exception {
    try (var server = new Server("--enable-time-skipping");
        var world = new World(server, "default")) {
      var refused =
          assertThrows(
              StatusRuntimeException.class,
              () -> world.time.blockingStub().unlockTimeSkipping(UnlockTimeSkippingRequest.getDefaultInstance()));
      assertEquals(Status.Code.FAILED_PRECONDITION, refused.getStatus().getCode());
    }
  }

  /** With an external service it calls no TestService: the server skips time from the beginning. */
  @Test
  void theEnvironmentOfTheSdkSkipsAYearOnAServerThatIsToldTo() throws Exception {
    try (var server = new Server("--enable-time-skipping");
        var environment =
            TestWorkflowEnvironment.newInstance(
                TestEnvironmentOptions.newBuilder().setUseExternalService(true).setTarget(server.target).build());
        var world = new World(server, environment.getNamespace())) {
      register(environment.newWorker("of the environment"));
      environment.start();
      var begin = world.now();
      var options = options().setTaskQueue("of the environment").build();
      assertEquals(12, environment.getWorkflowClient().newWorkflowStub(Year.class, options).run());
      assertTrue(Duration.between(begin, world.now()).compareTo(DAY.multipliedBy(365)) >= 0);
    }
  }
}
